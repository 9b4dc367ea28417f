#pragma once

#include "kernels/gated_delta_rule/gated_delta_rule.h"

// The gated delta rule over rows of which each rank has a part (kernels/row_edges.h). Per value head, the state is
// affine in the one that a part's document comes in with:
//   S_out = M S_in + H,    S [key_dim, value_dim], M [key_dim, key_dim]
// with M = 0 where a document begins in the part. So ranks need only each other's (H, M) for the S_in of their parts,
// from which the forward pass goes on with an initial state. Backward dS_in = M^T dS_out + dH, dH being the gradient
// that comes from the part's own outputs; then the usual backward pass with the gradient of the final state.
namespace mudelta::kernels {

// states [parts, value_heads, key_dim, value_dim] float32 (=): H. transitions [parts, value_heads, key_dim, key_dim]
// float32 (=): M; may be undefined. Of `inputs`, the initial state and the values of q do not count.
void row_part_states(const GatedDeltaRuleInputs& inputs, const Tensor& edges, const Tensor& states,
                     const Tensor& transitions, Stream stream);

// dstates [parts, value_heads, key_dim, value_dim] float32 (=): dH; zeros where a part begins with a document. `saved`
// and d_o as for gated_delta_rule_backward.
void row_part_dstates(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& edges,
                      const Tensor& d_o, const Tensor& dstates, Stream stream);

// to += M from, or M^T from with `transposed`. transitions [parts, value_heads, key_dim, key_dim]; from and to [parts,
// value_heads, key_dim, value_dim], which do not overlap; all float32.
void add_carried_states(const Tensor& transitions, bool transposed, const Tensor& from, const Tensor& to,
                        Stream stream);

}  // namespace mudelta::kernels
