// The calls into NCCL that dist/nccl_backend.cpp makes, without GPUs and without other ranks: the life of
// communicators, and a list of the work that they were given.
#include "tests/dist/fake_nccl.h"

#include <atomic>

struct ncclComm {};

namespace mudelta::testing::fake_nccl {
namespace {

std::atomic<bool> lost = false;
int open_groups = 0;

ncclResult_t add(Call call) {
  call.in_group = open_groups > 0;
  calls.push_back(std::move(call));
  return ncclSuccess;
}

}  // namespace

void lose_a_rank() { lost = true; }

}  // namespace mudelta::testing::fake_nccl

namespace fake = mudelta::testing::fake_nccl;

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId*) { return ncclSuccess; }
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int, ncclUniqueId, int) {
  *comm = new ncclComm;
  ++fake::communicators;
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  --fake::communicators;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = fake::lost ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t) { return "remote process exited or there was a network error"; }
const char* ncclGetLastError(ncclComm_t) { return "the fake link is down"; }

ncclResult_t ncclGroupStart() {
  ++fake::open_groups;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  --fake::open_groups;
  return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return fake::add({"ncclAllReduce", comm, stream, send, receive, count, type, op});
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return fake::add({"ncclReduceScatter", comm, stream, send, receive, count, type, op});
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return fake::add({"ncclAllGather", comm, stream, send, receive, count, type});
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return fake::add({"ncclBroadcast", comm, stream, send, receive, count, type, root});
}
ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return fake::add({"ncclSend", comm, stream, send, nullptr, count, type, peer});
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return fake::add({"ncclRecv", comm, stream, nullptr, receive, count, type, peer});
}
