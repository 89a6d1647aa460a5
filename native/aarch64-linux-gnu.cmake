# Cross-compilation with Debian's g++-aarch64-linux-gnu; tests run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# The processor to emulate: max has every extension, cortex-a76 dot products, cortex-a53 plain NEON.
set(QEMU_CPU max CACHE STRING "Processor that qemu-aarch64 emulates")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-cpu;${QEMU_CPU};-L;/usr/aarch64-linux-gnu)
