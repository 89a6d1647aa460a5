// A few threads that share loops with the caller.
#ifndef TF_PRUNE_OFA_THREAD_POOL_H_
#define TF_PRUNE_OFA_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tf_prune_ofa {

// After fork() the child has the caller alone: there a pool from before goes on without its workers,
// and ends without waiting for them.
class ThreadPool {
 public:
  // `threads` counts the caller: 1 starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(shared_->workers.size()) + 1; }

  // Calls work(thread, item) for each item in [0, count), 0 <= thread < threads(), and returns when
  // all are done. One caller at a time.
  void ForEach(int count, const std::function<void(int thread, int item)>& work);

 private:
  // Workers inside the loop; kClosed between loops. A worker that wakes up late finds it closed, so
  // the caller never waits for one that the machine has no time for.
  static constexpr int kClosed = -1;

  // What workers see. In a forked child it can neither be used nor destroyed.
  struct Shared {
    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable wake;
    // Raised once for each loop, and to end. Changed under mutex, so that no sleeper misses it.
    std::atomic<uint32_t> round{0};
    std::atomic<bool> ending{false};
    std::atomic<int> next{0};
    std::atomic<int> inside{kClosed};
    int count = 0;
    const std::function<void(int, int)>* work = nullptr;

    void Run(int thread);
    void TakeItems(int thread);
  };

  bool IsForked() const;

  std::unique_ptr<Shared> shared_;
  uint32_t forks_ = 0;  // of this process and those before it when the workers started
};

}  // namespace tf_prune_ofa

#endif  // TF_PRUNE_OFA_THREAD_POOL_H_
