/// A bounded queue of pointers between threads.
#ifndef HSD_CLI_QUEUE_H
#define HSD_CLI_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/// Thread: put, get and close from any thread. Lifetime: from init to fini, when nobody waits.
typedef struct cli_queue {
    pthread_mutex_t lock; ///< guards everything below
    pthread_cond_t changed;
    void **ring; ///< owned, [cap]
    size_t cap, first, n;
    bool closed;
} cli_queue;

/// False when memory is short; fini is then allowed.
bool cli_queue_init(cli_queue *q, size_t cap);
void cli_queue_fini(cli_queue *q);

/// Append, waiting for room. A closed queue still takes what is put: nothing in flight is lost.
void cli_queue_put(cli_queue *q, void *entry);
/// The oldest entry, waiting for one. NULL once the queue is closed and empty.
void *cli_queue_get(cli_queue *q);
/// Who waits for an entry that will not come is woken. May be called again.
void cli_queue_close(cli_queue *q);

#endif
