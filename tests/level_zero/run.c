/// Running commands: kernels in PoCL, copies by the host, events.
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/// Wait for what was launched. PoCL is asked only when something needs it.
static void finish(ze_command_queue_handle_t queue)
{
    if (queue->commands) {
        (void)lz.cl->clFinish(queue->commands);
    }
}

static bool lose(const char *format, const char *name, int i)
{
    lz_say(format, name, i);
    pthread_mutex_lock(&lz.lock);
    lz_lose("the message above");
    pthread_mutex_unlock(&lz.lock);
    return false;
}

static bool wait_events(ze_command_queue_handle_t queue, const lz_command *c)
{
    bool good = true;
    if (c->n_waits > 0) {
        finish(queue);
    }
    pthread_mutex_lock(&lz.lock);
    for (uint32_t i = 0; i < c->n_waits; i++) {
        while (!c->waits[i]->signalled && !lz.lost && !queue->stop) {
            pthread_cond_wait(&lz.changed, &lz.lock);
        }
        good = good && c->waits[i]->signalled;
    }
    good = good && !lz.lost && !queue->stop;
    pthread_mutex_unlock(&lz.lock);
    return good;
}

/// The injected delays of a launch. False: it hung until the queue was destroyed.
static bool delay(ze_command_queue_handle_t queue)
{
    pthread_mutex_lock(&lz.lock);
    int n = ++lz.n_launches;
    uint64_t begin = lz_now_ns(), ns = (uint64_t)lz.faults.slow_ms * 1000000u;
    bool slow = ns > 0 && (lz.faults.slow_at == 0 || lz.faults.slow_at == n);
    bool hang = lz.faults.hang_at == n;
    while ((hang || (slow && lz_now_ns() - begin < ns)) && !queue->stop && !lz.lost) {
        (void)lz_wait(begin, hang ? UINT64_MAX : ns);
    }
    bool good = !queue->stop && !lz.lost;
    pthread_mutex_unlock(&lz.lock);
    return good;
}

/// Where the pointers among the arguments lead now. -1, or the first that leads nowhere.
static int resolve(const lz_command *c, void **pointers)
{
    int bad = -1;
    pthread_mutex_lock(&lz.lock);
    for (int i = 0; i < c->kernel->entry->n_params; i++) {
        void *p = NULL;
        if (c->kernel->entry->params[i].what == LZ_POINTER) {
            memcpy(&p, c->args[i].raw, sizeof p);
            pointers[i] = p ? lz_real(p, 1, false) : NULL;
            bad = p && !pointers[i] && bad < 0 ? i : bad;
        }
    }
    pthread_mutex_unlock(&lz.lock);
    return bad;
}

static cl_int set_args(const lz_command *c, void *const *pointers)
{
    cl_int code = CL_SUCCESS;
    for (int i = 0; i < c->kernel->entry->n_params && code == CL_SUCCESS; i++) {
        const lz_arg *a = &c->args[i];
        cl_uint at = (cl_uint)i;
        switch (c->kernel->entry->params[i].what) {
        case LZ_POINTER:
            code = lz.cl->clSetKernelArgSVMPointer(c->kernel->kernel, at, pointers[i]);
            break;
        case LZ_LOCAL:
            code = lz.cl->clSetKernelArg(c->kernel->kernel, at, a->size, NULL);
            break;
        default:
            code =
                lz.cl->clSetKernelArg(c->kernel->kernel, at, a->size, a->large ? a->large : a->raw);
        }
    }
    return code;
}

static bool launch(ze_command_queue_handle_t queue, const lz_command *c)
{
    void *pointers[LZ_MAX_PARAMS];
    const char *name = c->kernel->entry->name;
    cl_int code = CL_SUCCESS;
    if (!delay(queue)) {
        return false;
    }
    int bad = resolve(c, pointers);
    if (bad >= 0) {
        return lose("%s: argument %d points to memory that was freed", name, bad);
    }
    pthread_mutex_lock(&lz.cl_lock);
    if (!queue->commands) {
        queue->commands = lz.cl->clCreateCommandQueue(lz.context, lz.device, 0, &code);
    }
    if (code == CL_SUCCESS) {
        code = set_args(c, pointers);
    }
    if (code == CL_SUCCESS) {
        code = lz.cl->clEnqueueNDRangeKernel(queue->commands, c->kernel->kernel, 3, NULL, c->global,
                                             c->local, 0, NULL, NULL);
    }
    pthread_mutex_unlock(&lz.cl_lock);
    return code == CL_SUCCESS || lose("%s: PoCL's error %d", name, code);
}

static bool copy(const lz_command *c)
{
    pthread_mutex_lock(&lz.lock);
    void *to = lz_real(c->to, c->n_bytes, true);
    const void *from = lz_real(c->from, c->n_bytes, true);
    pthread_mutex_unlock(&lz.lock);
    if (!to || !from) {
        return lose("%s: operand %d leaves its memory", "copy", !to ? 0 : 1);
    }
    memcpy(to, from, c->n_bytes);
    return true;
}

static bool fill(const lz_command *c)
{
    pthread_mutex_lock(&lz.lock);
    unsigned char *to = lz_real(c->to, c->n_bytes, true);
    pthread_mutex_unlock(&lz.lock);
    if (!to) {
        return lose("%s: operand %d leaves its memory", "fill", 0);
    }
    for (size_t i = 0; i < c->n_bytes; i++) {
        to[i] = c->pattern[i % c->n_pattern];
    }
    return true;
}

static bool write_time(const lz_command *c)
{
    uint64_t ticks = lz_ticks();
    pthread_mutex_lock(&lz.lock);
    void *to = lz_real(c->to, sizeof ticks, true);
    pthread_mutex_unlock(&lz.lock);
    if (!to) {
        return lose("%s: operand %d leaves its memory", "timestamp", 0);
    }
    memcpy(to, &ticks, sizeof ticks);
    return true;
}

static void set_event(ze_event_handle_t event, bool signalled, uint64_t start)
{
    pthread_mutex_lock(&lz.lock);
    event->signalled = signalled;
    event->start = start;
    event->end = lz_ticks();
    pthread_cond_broadcast(&lz.changed);
    pthread_mutex_unlock(&lz.lock);
}

static bool run_one(ze_command_queue_handle_t queue, const lz_command *c)
{
    bool good = wait_events(queue, c);
    if (good && (c->signal || (c->op != LZ_OP_LAUNCH && c->op != LZ_OP_BARRIER))) {
        finish(queue); // the host's part comes after the kernels; these are in order anyway
    }
    uint64_t start = lz_ticks();
    if (good) {
        switch (c->op) {
        case LZ_OP_LAUNCH:
            good = launch(queue, c);
            break;
        case LZ_OP_COPY:
            good = copy(c);
            break;
        case LZ_OP_FILL:
            good = fill(c);
            break;
        case LZ_OP_TIME:
            good = write_time(c);
            break;
        case LZ_OP_RESET:
            set_event(c->reset, false, 0);
            break;
        case LZ_OP_BARRIER:
            break;
        }
    }
    if (good && c->signal) {
        finish(queue);
        set_event(c->signal, true, start);
    }
    return good;
}

/// What lies between barriers may run in any order: so it does, drawn from the seed.
static void shuffle(const lz_command *commands, int n, unsigned seed, int *order)
{
    for (int i = 0; i < n; i++) {
        order[i] = i;
    }
    for (int begin = 0, end; seed && begin < n; begin = end + 1) {
        for (end = begin; end < n && !commands[end].ordered; end++) {
        }
        for (int i = end - 1; i > begin; i--) {
            seed = seed * 1664525u + 1013904223u;
            int j = begin + (int)((seed >> 8) % (unsigned)(i - begin + 1)), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
    }
}

bool lz_run(ze_command_queue_handle_t queue, const lz_command *commands, int n, unsigned seed)
{
    int *order = malloc((size_t)(n + 1) * sizeof *order);
    bool good = order != NULL;
    if (good) {
        shuffle(commands, n, seed, order);
    }
    for (int i = 0; i < n && good; i++) {
        good = run_one(queue, &commands[order[i]]);
    }
    finish(queue);
    free(order);
    return good;
}
