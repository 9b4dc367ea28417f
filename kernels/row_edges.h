#pragma once

#include <cstdint>
#include <string_view>

#include "core/device.h"
#include "core/tensor.h"

// Rows of which each rank has a part. A rank's tokens are `parts` parts, one after another, each of a token at least
// and of whole sequences: a document that goes on in the next rank's part is a sequence of each. What crosses the edges
// of parts follows from
//   edges [parts, 3] int32: the number of a part's first sequence, that of its last, and the tokens of the first one's
//   document that stand in the parts before; 0: the document begins here.
namespace mudelta::kernels {

enum EdgeColumn : std::uint8_t { kFirstSequence, kLastSequence, kTokensBefore, kEdgeColumns };

enum class Edge : std::uint8_t { kBegin, kEnd };

// What is of the sequences at one edge, of what is of all sequences, and back. Both x and out float32.
// out [sequences, ...] (=): part p's element of x [parts, ...] for its first (kBegin) or last (kEnd) sequence; zeros
// for other sequences, and at kBegin where a document begins.
void put_at_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream);
// out [parts, ...] (=) of x [sequences, ...]; at kBegin zeros where a document begins.
void take_from_edges(Edge edge, const Tensor& edges, const Tensor& x, const Tensor& out, Stream stream);

// Throws Error unless `edges` is as above, of `sequences` sequences.
void expect_row_edges(std::string_view op, const Tensor& edges, std::int64_t sequences);

}  // namespace mudelta::kernels
