// Prints every kernel that is linked in, with the bytes that each of its arguments takes.
#include <cstdio>

#include "emu.h"

extern "C" const char* emu_kernel(unsigned index);
extern "C" int emu_arguments(const char* name, const emu::Argument** arguments);

int main() {
  for (unsigned i = 0; const char* name = emu_kernel(i); ++i) {
    const emu::Argument* arguments = nullptr;
    int count = emu_arguments(name, &arguments);
    printf("%s", name);
    for (int j = 0; j < count; ++j) printf(" %u", arguments[j].bytes);
    printf("\n");
  }
}
