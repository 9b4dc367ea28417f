#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/tensor.h"

// The rows of x that a short convolution (kernels/short_conv.h) sees across the edges of the parts that ranks have of
// rows (kernels/row_edges.h), and the way back of their gradients. Parts are of the same length on all ranks; those
// shorter than taps - 1 reach over several ranks. Channels of several convolutions may travel side by side, each x
// having those from `first_channel` on.
namespace mudelta::kernels {

// Where a rank stands among those that have parts of the same rows.
struct PartPlace {
  int rank;
  std::int64_t length;  // tokens of a part

  // How many rows of a part others may see.
  std::int64_t tail_rows(std::int64_t taps) const { return length < taps - 1 ? length : taps - 1; }
};

// tails [parts, n, all channels] (=), dtype of x [parts x length, channels]: the last n rows of each part, in the
// channels of x.
void take_tails(const Tensor& x, std::int64_t first_channel, const Tensor& tails, Stream stream);

// all_tails [ranks, parts, tail_rows, all channels], every rank's tails. initial_state [sequences, taps - 1, channels]
// float32 (=): what short_conv_forward wants: of sequences that documents go on in, their rows before; zeros elsewhere.
void initial_state_from_tails(const Tensor& all_tails, std::int64_t first_channel, const Tensor& edges,
                              const PartPlace& place, const Tensor& initial_state, Stream stream);

// heads [parts, taps - 1, all channels] float32 (=), in the channels of dinitial_state [sequences, taps - 1, channels]:
// the gradients of rows before this part; zeros for rows of other documents.
void take_head_gradients(const Tensor& dinitial_state, std::int64_t first_channel, const Tensor& edges,
                         const Tensor& heads, Stream stream);

// all_heads [ranks, parts, taps - 1, all channels], every rank's heads. dx [parts x length, channels] float32 or
// bfloat16: its parts' last rows += what later ranks have for them.
void add_head_gradients(const Tensor& all_heads, std::int64_t first_channel, const PartPlace& place, const Tensor& dx,
                        Stream stream);

}  // namespace mudelta::kernels
