// Checks for tests that are plain programs.
#ifndef TF_PRUNE_OFA_TESTS_CHECK_H_
#define TF_PRUNE_OFA_TESTS_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the program with a message unless `condition` holds. The rest is printf's.
#define CHECK(condition, ...)                                                    \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::fprintf(stderr, "%s:%d: not so: %s; ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                         \
      std::fputc('\n', stderr);                                                  \
      std::exit(1);                                                              \
    }                                                                            \
  } while (false)

#endif  // TF_PRUNE_OFA_TESTS_CHECK_H_
