// The calls into NCCL that dist/nccl_backend.cpp makes, without GPUs and without other ranks: the life of a
// communicator, and the sum over one rank.
#include "tests/dist/fake_nccl.h"

#include <nccl.h>

#include <atomic>

struct ncclComm {};

namespace mudelta::testing::fake_nccl {
namespace {
std::atomic<bool> lost = false;
}

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

ncclResult_t ncclGroupStart() { return ncclInternalError; }
ncclResult_t ncclGroupEnd() { return ncclInternalError; }
// Of one rank, in place.
ncclResult_t ncclAllReduce(const void* from, void* to, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) {
  return from == to ? ncclSuccess : ncclInternalError;
}
ncclResult_t ncclReduceScatter(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) {
  return ncclInternalError;
}
ncclResult_t ncclAllGather(const void*, void*, size_t, ncclDataType_t, ncclComm_t, cudaStream_t) {
  return ncclInternalError;
}
ncclResult_t ncclBroadcast(const void*, void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t) {
  return ncclInternalError;
}
ncclResult_t ncclSend(const void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t) { return ncclInternalError; }
ncclResult_t ncclRecv(void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t) { return ncclInternalError; }
