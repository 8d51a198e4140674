/* test/promise/cxx_forms.cpp — every form of new and delete. SPDX-License-Identifier: MIT */
/*
 * Goal: the 8 operators new and 12 operators delete work together; failure calls the new-handler
 * until it gives up, then throws std::bad_alloc (nothrow: NULL); real C++ code runs.
 * Method: direct calls of the operators (new-expressions may be elided by the compiler), sizes of
 * all tiers, contents checked; then containers, strings and threads against known results.
 */
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

extern "C" {
#include <dlfcn.h>
#include <malloc.h>
}

#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

namespace {

const std::size_t g_sizes[] = {0,    1,     8,     16,    100,     1000,   1024,
                               1025, 10000, 65536, 65537, 1 << 20, 5 << 20};
/* Volatile: the compiler must not see that the request cannot succeed. */
volatile std::size_t g_impossible = SIZE_MAX / 2 + 4096;

void *new_form(int form, std::size_t size, std::align_val_t alignment) {
    switch (form) {
    case 0:
        return ::operator new(size);
    case 1:
        return ::operator new[](size);
    case 2:
        return ::operator new(size, std::nothrow);
    case 3:
        return ::operator new[](size, std::nothrow);
    case 4:
        return ::operator new(size, alignment);
    case 5:
        return ::operator new[](size, alignment);
    case 6:
        return ::operator new(size, alignment, std::nothrow);
    default:
        return ::operator new[](size, alignment, std::nothrow);
    }
}

/* Forms 0-5 fit unaligned news, 6-11 aligned ones. */
void delete_form(int form, void *block, std::size_t size, std::align_val_t alignment) {
    switch (form) {
    case 0:
        return ::operator delete(block);
    case 1:
        return ::operator delete[](block);
    case 2:
        return ::operator delete(block, size);
    case 3:
        return ::operator delete[](block, size);
    case 4:
        return ::operator delete(block, std::nothrow);
    case 5:
        return ::operator delete[](block, std::nothrow);
    case 6:
        return ::operator delete(block, alignment);
    case 7:
        return ::operator delete[](block, alignment);
    case 8:
        return ::operator delete(block, size, alignment);
    case 9:
        return ::operator delete[](block, size, alignment);
    case 10:
        return ::operator delete(block, alignment, std::nothrow);
    default:
        return ::operator delete[](block, alignment, std::nothrow);
    }
}

void check_forms() {
    sweep s = sweep_begin("8 forms of new x 12 forms of delete");
    for (int form = 0; form < 8; form++) {
        for (int give = form < 4 ? 0 : 6; give < (form < 4 ? 6 : 12); give++) {
            for (std::size_t size : g_sizes) {
                std::size_t alignment = form < 4 ? 16 : std::size_t{1} << (5 + size % 9);
                auto seed = static_cast<std::uint64_t>(form);
                void *block = new_form(form, size, std::align_val_t{alignment});
                SWEEP(&s, block != nullptr && is_aligned(block, alignment),
                      "new form %d size %zu alignment %zu: %p", form, size, alignment, block);
                SWEEP(&s, malloc_usable_size(block) >= size, "new form %d size %zu: usable", form,
                      size);
                pattern_fill(block, size, seed);
                SWEEP(&s, pattern_check(block, size, seed) == size, "form %d size %zu", form, size);
                delete_form(give, block, size, std::align_val_t{alignment});
            }
        }
    }
    sweep_end(&s);
}

/* 60 MiB through each form of delete: what is not given back stays resident. */
void check_given_back() {
    long before = resident_kib();
    for (int give = 0; give < 12; give++) {
        for (int i = 0; i < 60000; i++) {
            int form = give < 6 ? 1 : 5;
            void *block = new_form(form, 1024, std::align_val_t{64});
            memset(block, 1, 1024);
            delete_form(give, block, 1024, std::align_val_t{64});
        }
    }
    long grown = resident_kib() - before;
    CHECK(grown < 16 * 1024, "12 forms of delete give back: 720 MiB passed, %ld KiB stayed", grown);
}

void check_aligned_new() {
    sweep s = sweep_begin("aligned new up to 1 MiB of alignment");
    for (std::size_t alignment = 1; alignment <= std::size_t{1} << 20; alignment <<= 1) {
        for (std::size_t size : g_sizes) {
            void *block = ::operator new (size, std::align_val_t{alignment});
            SWEEP(&s, is_aligned(block, alignment), "alignment %zu size %zu: %p", alignment, size,
                  block);
            ::operator delete (block, std::align_val_t{alignment});
        }
    }
    sweep_end(&s);
}

void check_delete_null() {
    for (int give = 0; give < 12; give++) {
        delete_form(give, nullptr, 100, std::align_val_t{64});
    }
    CHECK(true, "deleting NULL in 12 forms does nothing");
}

int g_handler_calls;

void handler_gives_up_at_three() {
    if (++g_handler_calls == 3) {
        std::set_new_handler(nullptr);
    }
}

struct handler_exception : std::bad_alloc {};

void handler_throws() {
    g_handler_calls++;
    throw handler_exception();
}

/* What happened: 't' bad_alloc, 'h' the handler's own exception, 'n' NULL, 'b' a block. */
char try_impossible(int form) {
    try {
        void *block = new_form(form, g_impossible, std::align_val_t{64});
        return block == nullptr ? 'n' : 'b';
    } catch (const handler_exception &) {
        return 'h';
    } catch (const std::bad_alloc &) {
        return 't';
    }
}

void check_failure() {
    sweep s = sweep_begin("failure: bad_alloc, or NULL from the nothrow forms");
    for (int form = 0; form < 8; form++) {
        bool nothrow = (form & 2) != 0;
        char happened = try_impossible(form);
        SWEEP(&s, happened == (nothrow ? 'n' : 't'), "form %d without handler: %c", form, happened);

        g_handler_calls = 0;
        std::set_new_handler(handler_gives_up_at_three);
        happened = try_impossible(form);
        SWEEP(&s, happened == (nothrow ? 'n' : 't') && g_handler_calls == 3,
              "form %d with handler: %c after %d calls", form, happened, g_handler_calls);
        SWEEP(&s, std::get_new_handler() == nullptr, "form %d: handler", form);
        std::set_new_handler(nullptr);
    }
    sweep_end(&s);

    s = sweep_begin("an exception of the handler passes through throwing new");
    for (int form : {0, 1, 4, 5}) {
        g_handler_calls = 0;
        std::set_new_handler(handler_throws);
        char happened = try_impossible(form);
        std::set_new_handler(nullptr);
        SWEEP(&s, happened == 'h' && g_handler_calls == 1, "form %d: %c", form, happened);
    }
    sweep_end(&s);

    void *after = ::operator new(100);
    CHECK(after != nullptr, "new works after failures");
    ::operator delete(after);
}

void check_new_expressions() {
    bool thrown = false;
    try {
        std::vector<char> v;
        v.reserve(g_impossible / 2);
    } catch (const std::exception &) {
        thrown = true;
    }
    CHECK(thrown, "a vector that cannot be had throws");

    struct alignas(256) wide {
        char bytes[300];
    };
    std::vector<std::unique_ptr<wide>> kept;
    bool aligned = true;
    for (int i = 0; i < 1000; i++) {
        kept.push_back(std::make_unique<wide>());
        aligned = aligned && is_aligned(kept.back().get(), 256);
    }
    std::unique_ptr<wide[]> array(new wide[7]);
    CHECK(aligned && is_aligned(array.get(), 256), "over-aligned types by new-expressions");
}

/* A known sum over maps of strings, built, copied and torn down. */
std::uint64_t run_containers(unsigned salt) {
    std::map<std::string, std::vector<int>> by_name;
    std::unordered_map<int, std::shared_ptr<std::string>> by_number;
    for (int i = 0; i < 4000; i++) {
        std::string name = "key " + std::to_string(i * 7919 % 1000) +
                           std::string(static_cast<std::size_t>(i % 60), 'x');
        by_name[name].push_back(i);
        by_number[i % 777] = std::make_shared<std::string>(name + name);
        if (i % 3 == 0) {
            by_number.erase(i % 500);
        }
    }
    auto copy = by_name;
    by_name.clear();
    std::uint64_t sum = salt;
    for (const auto &[name, numbers] : copy) {
        for (int n : numbers) {
            sum = sum * 31 + name.size() + static_cast<unsigned>(n);
        }
    }
    for (int i = 0; i < 777; i++) {
        auto found = by_number.find(i);
        sum = sum * 31 + (found == by_number.end() ? 0 : found->second->size());
    }
    return sum;
}

struct per_thread {
    std::map<int, std::string> kept;
    ~per_thread() {
        for (int i = 0; i < 50; i++) {
            kept[i + 1000] = std::string(static_cast<std::size_t>(i * 20),
                                         'd'); /* allocates while the thread goes */
        }
    }
};
thread_local per_thread g_per_thread;

void check_workload() {
    std::uint64_t expected = run_containers(1);
    std::uint64_t sums[8] = {};
    std::vector<std::thread> threads;
    for (auto &sum : sums) {
        threads.emplace_back([&sum] {
            g_per_thread.kept[1] = std::string(500, 't');
            sum = run_containers(1);
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    sweep s = sweep_begin("maps, strings, shared_ptr in 8 threads give one result");
    for (std::uint64_t sum : sums) {
        SWEEP(&s, sum == expected, "%llx", static_cast<unsigned long long>(sum));
    }
    sweep_end(&s);

    /* Blocks that change hands: made here, destroyed there. */
    std::vector<std::string> strings;
    for (int i = 0; i < 20000; i++) {
        strings.push_back(
            std::string(static_cast<std::size_t>(i % 300), static_cast<char>('a' + i % 26)));
    }
    std::thread([moved = std::move(strings)]() mutable { moved.clear(); }).join();
    CHECK(run_containers(1) == expected, "strings destroyed by another thread");
}

} // namespace

int main() {
    tap_require_override();
    check_forms();
    check_given_back();
    check_aligned_new();
    check_delete_null();
    check_failure();
    check_new_expressions();
    check_workload();
    return tap_end();
}
