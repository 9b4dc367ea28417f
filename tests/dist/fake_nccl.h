#pragma once

// What the fake NCCL of nccl_watch_test.cpp has been asked for, and what it answers.
namespace mudelta::testing::fake_nccl {

inline int communicators = 0;  // made and not yet destroyed

// From now on every communicator reports that a remote rank is gone.
void lose_a_rank();

}  // namespace mudelta::testing::fake_nccl
