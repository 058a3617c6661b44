/// A bounded queue of pointers between threads: a ring, a lock, a condition.
#include "cli/queue.h"

#include <stdlib.h>

bool cli_queue_init(cli_queue *q, size_t cap)
{
    *q = (cli_queue){.ring = calloc(cap, sizeof *q->ring), .cap = cap};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    return q->ring != NULL;
}

void cli_queue_fini(cli_queue *q)
{
    if (q->cap > 0) {
        pthread_cond_destroy(&q->changed);
        pthread_mutex_destroy(&q->lock);
        free(q->ring);
    }
    *q = (cli_queue){0};
}

void cli_queue_put(cli_queue *q, void *entry)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == q->cap) {
        pthread_cond_wait(&q->changed, &q->lock);
    }
    q->ring[(q->first + q->n++) % q->cap] = entry;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void *cli_queue_get(cli_queue *q)
{
    void *entry = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed) {
        pthread_cond_wait(&q->changed, &q->lock);
    }
    if (q->n > 0) {
        entry = q->ring[q->first];
        q->first = (q->first + 1) % q->cap;
        q->n--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return entry;
}

void cli_queue_close(cli_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}
