/// See loops.h.
#include "loops.h"

#include "tests/pipelines/imagined.h"

#include <stdio.h>
#include <string.h>

int count_steps(const char *mode, int n_tokens)
{
    static imagined m;
    bool is_mirror = strcmp(mode, "mirror") == 0;
    imagined_init(&m, 1, 20e6, 0.3e6, 1e6, 0.9e6, 0.01e6);
    imagined_accept(&m, 0.7, 0.8, 0.9);
    imagined_set(&m, is_mirror ? HSD_MODE_MIRROR : HSD_MODE_SERIAL, 4, is_mirror ? 8 : 0,
                 is_mirror ? IMAGINED_LAYERS / 2 : 0);
    m.options.n_tokens = n_tokens;
    hsdi_simulation came = imagined_run(&m);
    printf("steps\t%lld\n", (long long)came.stats.steps);
    return 0;
}
