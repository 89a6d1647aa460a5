// A few threads that share loops with the caller.
#ifndef TF_PRUNE_OFA_THREAD_POOL_H_
#define TF_PRUNE_OFA_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tf_prune_ofa {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(thread, item) for each item in [0, count), 0 <= thread < threads(), and returns when
  // all are done. One caller at a time.
  void ForEach(int count, const std::function<void(int thread, int item)>& work);

 private:
  void Run(int thread);
  void TakeItems(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Raised once for each loop, and to end. Changed under mutex_, so that no sleeper misses it.
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> ending_{false};
  std::atomic<int> next_{0};
  // Workers inside the loop; kClosed between loops. A worker that wakes up late finds it closed, so
  // the caller never waits for one that the machine has no time for.
  static constexpr int kClosed = -1;
  std::atomic<int> inside_{kClosed};
  int count_ = 0;
  const std::function<void(int, int)>* work_ = nullptr;
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_THREAD_POOL_H_
