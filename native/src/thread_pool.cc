#include "thread_pool.h"

#include <pthread.h>

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

// How often the process that runs now came out of a fork.
std::atomic<uint32_t> forks{0};

// Whether forks are counted from now on.
bool CountForks() {
  static const bool is_counted = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); }) == 0;
  return is_counted;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : shared_(std::make_unique<Shared>()) {
  if (threads < 2 || !CountForks()) return;
  forks_ = forks.load();
  Shared* shared = shared_.get();
  for (int thread = 1; thread < threads; ++thread) {
    try {
      shared->workers.emplace_back([shared, thread] { shared->Run(thread); });
    } catch (const std::system_error&) {
      break;  // the machine has no more threads to give: fewer work as well
    }
  }
}

ThreadPool::~ThreadPool() {
  if (IsForked()) {
    // Left behind: joining threads that are not there, or destroying what they sleep on, would wait
    // for ever.
    static_cast<void>(shared_.release());
    return;
  }
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->ending.store(true);
    shared_->round.fetch_add(1);
  }
  shared_->wake.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

bool ThreadPool::IsForked() const { return !shared_->workers.empty() && forks.load() != forks_; }

void ThreadPool::ForEach(int count, const std::function<void(int, int)>& work) {
  Shared& shared = *shared_;
  if (shared.workers.empty() || count < 2 || IsForked()) {
    for (int item = 0; item < count; ++item) work(0, item);
    return;
  }
  shared.count = count;
  shared.work = &work;
  shared.next.store(0);
  shared.inside.store(0);
  {
    std::lock_guard<std::mutex> lock(shared.mutex);
    shared.round.fetch_add(1);
  }
  shared.wake.notify_all();
  shared.TakeItems(0);
  // What is left takes no longer than one item.
  int nobody = 0;
  for (int spins = 0; !shared.inside.compare_exchange_strong(nobody, kClosed);
       ++spins, nobody = 0) {
    if (spins < kCallerSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Shared::TakeItems(int thread) {
  for (int item = next.fetch_add(1); item < count; item = next.fetch_add(1)) {
    (*work)(thread, item);
  }
}

void ThreadPool::Shared::Run(int thread) {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && round.load() == seen; ++spins) Pause();
    if (round.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex);
      wake.wait(lock, [this, seen] { return round.load() != seen; });
    }
    seen = round.load();
    if (ending.load()) return;
    int now = inside.load();
    while (now != kClosed && !inside.compare_exchange_weak(now, now + 1)) {
    }
    if (now == kClosed) continue;
    TakeItems(thread);
    inside.fetch_sub(1);
  }
}

}  // namespace tf_prune_ofa
