/// See relay.h.
#include "relay.h"
#include "rig.h"

#include <base/clock.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EPOCH_AT = 12, SESSION_AT = 16 }; // docs/protocol.md

static const int64_t MS = 1000000;
static const useconds_t LOOK_US = 200;

static uint32_t draw(relay *r, size_t n)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return n > 0 ? (uint32_t)(r->random >> 33) % (uint32_t)n : 0;
}

/// A frame that cannot go is lost, as on a wire.
static void deliver(relay *r, bool is_answer, const uint8_t *bytes, size_t n_bytes)
{
    if (is_answer) {
        (void)!hsdi_listener_send(r->listener, &r->peer, bytes, n_bytes);
    } else {
        (void)!hsdi_link_send(r->link, bytes, n_bytes);
    }
}

static bool hold(relay *r, bool is_answer, uint8_t *bytes, size_t n_bytes, int64_t due_ns)
{
    if (r->n_held == RELAY_HELD_MAX) {
        return false;
    }
    r->held[r->n_held++] = (relay_held){bytes, n_bytes, due_ns, is_answer};
    return true;
}

static void release(relay *r, int64_t now_ns)
{
    int n_kept = 0;
    for (int i = 0; i < r->n_held; i++) {
        if (r->held[i].due_ns <= now_ns) {
            deliver(r, r->held[i].is_answer, r->held[i].bytes, r->held[i].n_bytes);
            free(r->held[i].bytes);
        } else {
            r->held[n_kept++] = r->held[i];
        }
    }
    r->n_held = n_kept;
}

static void flip(relay *r, uint8_t *bytes, size_t n_bytes)
{
    for (uint32_t n = 1 + draw(r, 3); n > 0 && n_bytes > 0; n--) {
        bytes[draw(r, n_bytes)] ^= (uint8_t)(1u << draw(r, 8));
    }
}

static void make_stale(relay *r, uint8_t *bytes, size_t n_bytes)
{
    if (n_bytes > SESSION_AT + 8) {
        bytes[draw(r, 2) ? EPOCH_AT : SESSION_AT + draw(r, 8)] ^= (uint8_t)(1 + draw(r, 255));
    }
}

/// Is this frame to be harmed? Of a burst not every frame, so that what follows is seen too.
static bool is_hit(relay *r, relay_harm harm, bool is_answer)
{
    bool is_for_answers = harm == RELAY_DELAY || harm == RELAY_STALE;
    return harm != RELAY_NONE && (is_answer || !is_for_answers) &&
           (harm == RELAY_DELAY || draw(r, 3) == 0);
}

static void pass_on(relay *r, bool is_answer, const void *frame, size_t n_bytes)
{
    relay_harm harm = (relay_harm)atomic_load(&r->harm);
    int64_t now_ns = hsdi_now_ns();
    if (!is_hit(r, harm, is_answer)) {
        deliver(r, is_answer, frame, n_bytes);
        return;
    }
    atomic_fetch_add(&r->n_harmed, 1);
    uint8_t *bytes = malloc(n_bytes + 1);
    memcpy(bytes, frame, n_bytes);
    int64_t delay_ns = harm == RELAY_DELAY     ? RELAY_DELAY_MS * MS
                       : harm == RELAY_REORDER ? (1 + draw(r, 4)) * MS
                                               : 0;
    if (harm == RELAY_FLIP) {
        flip(r, bytes, n_bytes);
    } else if (harm == RELAY_TRUNCATE) {
        n_bytes = draw(r, n_bytes);
    } else if (harm == RELAY_STALE) {
        make_stale(r, bytes, n_bytes);
    } else if (harm == RELAY_DUPLICATE) {
        deliver(r, is_answer, bytes, n_bytes);
    }
    if (delay_ns > 0 && hold(r, is_answer, bytes, n_bytes, now_ns + delay_ns)) {
        return;
    }
    if (harm != RELAY_DROP) {
        deliver(r, is_answer, bytes, n_bytes);
    }
    free(bytes);
}

/// True when there was a frame.
static bool look(relay *r)
{
    const void *bytes;
    size_t n_bytes;
    bool any = false;
    while (hsdi_listener_receive(r->listener, &r->peer, &bytes, &n_bytes) == HSD_OK) {
        pass_on(r, false, bytes, n_bytes);
        any = true;
    }
    while (hsdi_link_receive(r->link, &bytes, &n_bytes) == HSD_OK) {
        pass_on(r, true, bytes, n_bytes);
        any = true;
    }
    return any;
}

static void *run(void *arg)
{
    relay *r = arg;
    while (!atomic_load(&r->is_stopped)) {
        bool any = atomic_load(&r->harm) != RELAY_MUTE && look(r);
        release(r, hsdi_now_ns());
        if (!any) {
            usleep(LOOK_US);
        }
    }
    release(r, INT64_MAX);
    return NULL;
}

bool relay_start(relay *r, hsdi_context *context, const char *worker_endpoint, uint64_t seed)
{
    r->random = seed;
    rig_endpoint(r->endpoint, sizeof r->endpoint, "inproc");
    return hsdi_listener_bind(context, r->endpoint, &r->listener, NULL) == HSD_OK &&
           hsdi_link_connect(context, worker_endpoint, &r->link, NULL) == HSD_OK &&
           pthread_create(&r->thread, NULL, run, r) == 0;
}

void relay_stop(relay *r)
{
    atomic_store(&r->is_stopped, true);
    pthread_join(r->thread, NULL);
    hsdi_link_close(&r->link);
    hsdi_listener_close(&r->listener);
}
