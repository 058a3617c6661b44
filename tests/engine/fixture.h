/// Shared by the engine's tests: a model on a device, driven row by row without pipelines.
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "engine/stages.h"
#include "engine/tokenizer.h"

typedef struct fixture {
    hsdi_device *device;
    hsdi_model *model;
    hsdi_weights *weights;
    hsdi_runner runner;
    hsdi_target_stage stage;
    int n_ctx;
    int32_t *cells; ///< [n_ctx] 0, 1, 2, ..
} fixture;

/// Open a model file with greedy sampling and a context of at least 512 where it can; fails the
/// test with the error's text.
void fixture_open(fixture *f, const char *path, hsdi_isa isa, int n_threads, int exit_layer);
/// The same on a device that is open, which is closed with the fixture.
void fixture_open_on(fixture *f, const char *path, hsdi_device *device, hsdi_isa isa,
                     int exit_layer);
/// The same with a cache layout per layer ([n_layers], NULL: keys and values).
void fixture_open_as(fixture *f, const char *path, const hsdi_layout *layouts, hsdi_device *device,
                     hsdi_isa isa, int exit_layer);
void fixture_close(fixture *f);

/// Evaluate n tokens from position `pos` as a chain behind the trunk 0..pos-1.
/// Shapes: own [n]; logits (may be NULL) receives [n, n_vocab].
void fixture_pass(fixture *f, const int32_t *tokens, int pos, int n, int32_t *own, float *logits);

/// Whole text file, NUL-terminated; NULL when it cannot be read. Caller frees.
char *fixture_read(const char *path);

#endif
