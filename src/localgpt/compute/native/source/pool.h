// Threads that go through the same phases of work together, taking chunks of each as they come.
//
// A thread that the system keeps from running takes no chunks, and nobody waits for it: a phase is over when
// all its chunks are done. So work goes on at the speed of the cores that are free. Between phases threads
// spin for a moment and then let others run; between turns they spin for some microseconds and then sleep.
#pragma once

#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace localgpt {

class Pool;

// One thread's way through one turn.
class Turn {
public:
    Turn(Pool& pool, int64_t start, int thread) : pool_(pool), end_(start), thread_(thread) {}
    // Which of the pool's threads this is; scratch memory is kept by it.
    int thread() const { return thread_; }
    // Does its share of work(0) ... work(num_chunks - 1); returns when all of them are done.
    template <typename Work>
    void phase(int64_t num_chunks, const Work& work);

private:
    Pool& pool_;
    int64_t end_;  // of the phases behind it
    int thread_;
};

class Pool {
public:
    using Job = std::function<void(Turn&)>;

    // The thread that calls `run` is one of num_threads.
    explicit Pool(int num_threads) {
        try {
            for (int thread = 1; thread < num_threads; ++thread)
                threads_.emplace_back([this, thread] { serve(thread); });
        } catch (const std::system_error&) {  // the system gives no more of them: then with fewer
        }
    }

    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    ~Pool() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            is_over_ = true;
            turn_.fetch_add(1);
        }
        awake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

    // Every thread that finds the time calls the job, which must go through the same phases in each of them.
    void run(const Job& job) {
        const int64_t start = done_.load();
        if (!threads_.empty()) {
            bool somebody_sleeps;
            {
                const std::lock_guard<std::mutex> lock(mutex_);
                job_ = job;
                start_ = start;
                turn_.fetch_add(1);
                somebody_sleeps = num_asleep_ > 0;
            }
            if (somebody_sleeps) awake_.notify_all();
        }
        Turn turn(*this, start, 0);
        job(turn);
    }

private:
    friend class Turn;

    static constexpr int kSpins = 2000;  // about 20 microseconds, then others may have the core

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

    void serve(int thread) {
        int64_t seen = 0;
        for (;;) {
            for (int spin = 0; spin < kSpins && turn_.load(std::memory_order_acquire) == seen; ++spin)
                pause();
            Job job;
            int64_t start;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                ++num_asleep_;
                awake_.wait(lock, [&] { return turn_.load() != seen; });
                --num_asleep_;
                if (is_over_) return;
                seen = turn_.load();
                job = job_;
                start = start_;
            }
            Turn turn(*this, start, thread);
            job(turn);
        }
    }

    // Chunks are numbered through all phases of all turns. One that is late finds its phases done and changes
    // nothing.
    alignas(64) std::atomic<int64_t> next_{0};
    alignas(64) std::atomic<int64_t> done_{0};
    alignas(64) std::atomic<int64_t> turn_{0};
    std::mutex mutex_;
    std::condition_variable awake_;
    Job job_;
    int64_t start_ = 0;
    int num_asleep_ = 0;
    bool is_over_ = false;
    std::vector<std::thread> threads_;
};

template <typename Work>
void Turn::phase(int64_t num_chunks, const Work& work) {
    const int64_t start = end_;
    end_ = start + num_chunks;
    for (int64_t chunk = pool_.next_.load(std::memory_order_relaxed); chunk < end_;) {
        if (!pool_.next_.compare_exchange_weak(chunk, chunk + 1, std::memory_order_acq_rel)) continue;
        work(chunk - start);
        pool_.done_.fetch_add(1, std::memory_order_acq_rel);
        chunk = pool_.next_.load(std::memory_order_relaxed);
    }
    for (int spin = 0; pool_.done_.load(std::memory_order_acquire) < end_; ++spin) {
        if (spin < Pool::kSpins) {
            Pool::pause();
        } else {
            std::this_thread::yield();
        }
    }
}

}  // namespace localgpt
