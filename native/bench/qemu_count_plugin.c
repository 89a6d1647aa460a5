/* A plugin of qemu-user that counts executed instructions of some functions.
 *
 *   gcc -O2 -shared -fPIC -o libcount.so qemu_count_plugin.c
 *   qemu-aarch64 -cpu max -plugin ./libcount.so,symbol=Accumulate -d plugin PROGRAM
 *
 * Prints how many instructions ran in functions whose symbol contains `symbol` (all, where it is empty), and how many of them
 * were SDOT, and SMLAL, by element. Single-threaded programs only: counters are not atomic.
 *
 * Declares the part of QEMU's plugin interface that it uses (version 1, QEMU 7.2).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { kAddU64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* tb, size_t index);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn* insn);
const char* qemu_plugin_insn_symbol(const struct qemu_plugin_insn* insn);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn* insn, int operation,
                                                void* counter, uint64_t addend);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t,
                                                            struct qemu_plugin_tb*));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void*),
                                    void* data);
void qemu_plugin_outs(const char* text);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;

static const char* wanted = "Accumulate";
static uint64_t total, sdot, smlal;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
    struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    const char* symbol = qemu_plugin_insn_symbol(insn);
    if (*wanted != '\0' && (symbol == NULL || strstr(symbol, wanted) == NULL)) continue;
    qemu_plugin_register_vcpu_insn_exec_inline(insn, kAddU64, &total, 1);
    uint32_t code;
    memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
    if ((code & 0xFFC0F400) == 0x4F80E000) {
      qemu_plugin_register_vcpu_insn_exec_inline(insn, kAddU64, &sdot, 1);
    }
    if ((code & 0xBFC0F400) == 0x0F402000) {
      qemu_plugin_register_vcpu_insn_exec_inline(insn, kAddU64, &smlal, 1);
    }
  }
}

static void on_exit(qemu_plugin_id_t id, void* data) {
  (void)id;
  (void)data;
  char text[160];
  snprintf(text, sizeof(text), "instructions %llu sdot %llu smlal %llu\n",
           (unsigned long long)total, (unsigned long long)sdot, (unsigned long long)smlal);
  qemu_plugin_outs(text);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "symbol=", 7) == 0) wanted = argv[i] + 7;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit, NULL);
  return 0;
}
