/// Runs the loops that counts.py counts: count_loops kernels|engine ISA MODELS, or
/// count_loops serial|mirror N_TOKENS. Alone it only runs them.
#include "loops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hsd/status.h>

// callgrind knows it by its name.
__attribute__((noinline)) void counted_region(int n, void (*call)(void *arg), void *arg);

void counted_region(int n, void (*call)(void *arg), void *arg)
{
    for (int i = 0; i < n; i++) {
        call(arg);
    }
}

void counted_loop(const char *name, int n, void (*call)(void *arg), void *arg)
{
    counted_region(n, call, arg);
    printf("%s\t%d\n", name, n);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        return count_steps(argv[1], atoi(argv[2]));
    }
    if (argc != 4) {
        fprintf(stderr, "usage: count_loops kernels|engine ISA MODELS or serial|mirror N_TOKENS\n");
        return 2;
    }
    setenv("HSD_ISA", argv[2], 1);
    const hsdi_kernels *k = hsdi_kernels_get(hsdi_isa_detect());
    if (strcmp(k->name, argv[2]) != 0) {
        fprintf(stderr, "%s is not here, only %s\n", argv[2], k->name);
        return 77;
    }
    if (strcmp(argv[1], "kernels") == 0) {
        count_kernels(k);
    } else {
        count_engine(k, argv[3]);
    }
    return 0;
}
