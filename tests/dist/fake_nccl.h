#pragma once

#include <nccl.h>

#include <cstddef>
#include <string>
#include <vector>

// What a NCCL that needs no GPU and no other ranks has been asked for, and what it answers.
namespace mudelta::testing::fake_nccl {

inline int communicators = 0;  // made and not yet destroyed

// Work that was asked for: nothing is done.
struct Call {
  std::string name;  // "ncclAllReduce"
  ncclComm_t comm;
  cudaStream_t stream;
  const void* send;
  const void* receive;
  std::size_t count;
  ncclDataType_t type;
  int peer_or_op = -1;  // ncclRedOp_t of a reduction, rank of the other, or of the root
  bool in_group = false;
};
inline std::vector<Call> calls;

// From now on every communicator reports that a remote rank is gone.
void lose_a_rank();

}  // namespace mudelta::testing::fake_nccl
