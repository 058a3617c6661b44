/// How long a plan takes: `bench_plan [N_DEVICES [N_MACHINES]]`, random machines of that size.
///
/// Processor time of the calling thread, so that neighbours do not count; for a plan with its
/// reasons, as `hsd plan` makes it.
#include "../topology/random_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int n_devices = argc > 1 ? atoi(argv[1]) : 16, n_machines = argc > 2 ? atoi(argv[2]) : 200;
    random_case *c = malloc(sizeof *c);
    hsdi_plan *plan = malloc(sizeof *plan);
    double *ms = calloc((size_t)(n_machines > 0 ? n_machines : 1), sizeof *ms);
    hsdi_plan_options options;
    int n = 0;
    int64_t most = 0;
    if (!c || !plan || !ms || n_devices < 1 || n_devices > HSDI_MACHINE_DEVICES) {
        return 2;
    }
    hsdi_plan_options_init(&options);
    for (int seed = 1; seed <= n_machines; seed++) {
        hsd_error err;
        random_make((uint64_t)seed, n_devices, c);
        if (hsdi_costs_estimate(&c->machine, &c->costs, &err) != HSD_OK) {
            return 1;
        }
        double begin = now_ms();
        if (hsdi_plan_make(&c->machine, &c->costs, &options, plan, &err) == HSD_OK) {
            ms[n++] = now_ms() - begin;
            most = plan->n_tried > most ? plan->n_tried : most;
        }
    }
    qsort(ms, (size_t)n, sizeof *ms, compare);
    if (n > 0) {
        printf("up to %d devices, %d plans: median %.2f ms, 95th percentile %.2f ms, longest %.2f "
               "ms; at most %lld settings tried\n",
               n_devices, n, ms[n / 2], ms[n * 95 / 100], ms[n - 1], (long long)most);
    }
    free(c);
    free(plan);
    free(ms);
    return 0;
}
