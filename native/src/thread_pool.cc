#include "thread_pool.h"

#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tf_prune_ofa {
namespace {

// Between two loops of one layer a worker waits awake; between layers, while other threads compute
// what lies between, it sleeps. About 20 microseconds.
constexpr int kSpins = 1000;
// The caller waits awake for the last items, each shorter than this millisecond: who gives up its
// core gets it back much later where other programs run.
constexpr int kCallerSpins = 50 * kSpins;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int thread = 1; thread < threads; ++thread) {
    try {
      workers_.emplace_back([this, thread] { Run(thread); });
    } catch (const std::system_error&) {
      break;  // the machine has no more threads to give: fewer work as well
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_.store(true);
    round_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ForEach(int count, const std::function<void(int, int)>& work) {
  if (workers_.empty() || count < 2) {
    for (int item = 0; item < count; ++item) work(0, item);
    return;
  }
  count_ = count;
  work_ = &work;
  next_.store(0);
  inside_.store(0);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    round_.fetch_add(1);
  }
  wake_.notify_all();
  TakeItems(0);
  // What is left takes no longer than one item.
  int nobody = 0;
  for (int spins = 0; !inside_.compare_exchange_strong(nobody, kClosed); ++spins, nobody = 0) {
    if (spins < kCallerSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::TakeItems(int thread) {
  for (int item = next_.fetch_add(1); item < count_; item = next_.fetch_add(1)) {
    (*work_)(thread, item);
  }
}

void ThreadPool::Run(int thread) {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && round_.load() == seen; ++spins) Pause();
    if (round_.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this, seen] { return round_.load() != seen; });
    }
    seen = round_.load();
    if (ending_.load()) return;
    int inside = inside_.load();
    while (inside != kClosed && !inside_.compare_exchange_weak(inside, inside + 1)) {
    }
    if (inside == kClosed) continue;
    TakeItems(thread);
    inside_.fetch_sub(1);
  }
}

}  // namespace tf_prune_ofa
