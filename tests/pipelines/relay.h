/// A relay: stands between a target and a worker, passes frames on, and does harm to them on
/// request.
#ifndef HSD_TESTS_PIPELINES_RELAY_H
#define HSD_TESTS_PIPELINES_RELAY_H

#include <pipelines/transport/link.h>
#include <pthread.h>
#include <stdatomic.h>

/// What happens to frames, to each with some chance.
typedef enum relay_harm {
    RELAY_NONE,
    RELAY_DELAY,     ///< answers come RELAY_DELAY_MS later
    RELAY_FLIP,      ///< 1 to 3 bits are wrong
    RELAY_TRUNCATE,  ///< the end is missing
    RELAY_DUPLICATE, ///< comes twice
    RELAY_REORDER,   ///< comes after later ones
    RELAY_DROP,      ///< does not come
    RELAY_STALE,     ///< answers of another epoch or session
    RELAY_MUTE,      ///< nothing is read any more, in both directions
} relay_harm;

enum { RELAY_HELD_MAX = 256, RELAY_DELAY_MS = 120 };

typedef struct relay_held {
    uint8_t *bytes; ///< owned
    size_t n_bytes;
    int64_t due_ns;
    bool is_answer;
} relay_held;

typedef struct relay {
    char endpoint[96]; ///< for the target
    hsdi_listener *listener;
    hsdi_link *link;
    hsdi_peer peer; ///< the target
    atomic_int harm;
    atomic_long n_harmed; ///< frames
    atomic_bool is_stopped;
    uint64_t random;
    int n_held;
    relay_held held[RELAY_HELD_MAX]; ///< in order of arrival
    pthread_t thread;
} relay;

/// Zero-initialised before. False when something could not be made.
bool relay_start(relay *r, hsdi_context *context, const char *worker_endpoint, uint64_t seed);
void relay_stop(relay *r);

#endif
