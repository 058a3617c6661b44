/// Writes the seed corpus of fuzz_protocol into a folder: one frame of every type, and for every
/// mode sessions of OPEN, STEP, PROXIES, COMMIT and ALONE that fit together.
///
///     build/fuzz/fuzz/make_protocol_corpus tests/fuzz/corpus/protocol
#include "../pipelines/frames.h"

#include <stdio.h>

enum { N_STEPS = 6, RECORD_MAX = 4096 };

static void put(FILE *file, const hsdi_frame *frame, const int32_t *tokens,
                const hsdi_candidate *proxies)
{
    uint8_t bytes[RECORD_MAX];
    size_t n = hsdi_frame_encode(frame, tokens, proxies, bytes, sizeof bytes);
    const uint8_t size[2] = {(uint8_t)n, (uint8_t)(n >> 8)};
    fwrite(size, 1, sizeof size, file);
    fwrite(bytes, 1, n, file);
}

static FILE *create(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

/// A session whose windows are what the fuzz target's stage would draft, or trees of other tokens.
static void put_session(FILE *file, int mode, bool is_tree)
{
    int32_t text[64] = {3, 5, 8};
    int n_text = 3;
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * 2];
    hsdi_frame frame = frames_make(HSDI_FRAME_OPEN);
    frame.epoch = 40; // quanta of work after the frame
    frame.step = 0;
    frame.open.config.mode = mode;
    frame.open.config.window = 4;
    frame.open.config.tree = is_tree ? 9 : 4;
    frame.open.config.miss_window = 2;
    frame.open.config.rule = is_tree ? HSD_RULE_COUPLED : HSD_RULE_RATIO;
    frame.open.config.sources = HSDI_SOURCES_BOTH;
    frame.open.n_proxies = 2;
    frame.open.n_tokens = n_text;
    put(file, &frame, text, NULL);
    for (uint32_t step = 0; step < N_STEPS; step++) {
        hsdi_window window = {0};
        int32_t token = text[n_text - 1];
        for (int i = 0; i < (int)step % 5; i++) {
            token = (token * 7 + n_text - 1 + i) % 500;
            (void)hsdi_window_add(&window, i, token);
        }
        if (is_tree && hsdi_window_child(&window, 0, 9) < 0) {
            (void)hsdi_window_add(&window, 0, 9);
        }
        for (int i = 0; i < (window.n_tokens + 1) * 2; i++) {
            proxies[i] = (hsdi_candidate){20 + i, (float)-i};
        }
        int row = window.n_tokens / 2;
        hsdi_frame next = {.type = HSDI_FRAME_STEP, .epoch = 7, .session = 1, .step = step};
        next.step_.share = (hsdi_draft_share){0, HSDI_SHARE_ALL};
        next.step_.window = window;
        put(file, &next, NULL, NULL);
        next = (hsdi_frame){.type = HSDI_FRAME_PROXIES, .epoch = 5, .session = 1, .step = step};
        next.proxies.n_rows = window.n_tokens + 1;
        next.proxies.n_top = 2;
        put(file, &next, NULL, proxies);
        int path[HSDI_WINDOW_ROWS], n = hsdi_window_path(&window, row, path);
        for (int i = 1; i < n; i++) {
            text[n_text++] = window.tokens[path[i] - 1];
        }
        text[n_text++] = 30 + (int32_t)step;
        next = (hsdi_frame){.type = HSDI_FRAME_COMMIT, .epoch = 30, .session = 1, .step = step};
        next.commit.row = row;
        next.commit.next = text[n_text - 1];
        next.commit.n_committed = n_text;
        next.commit.want = (int)step % 5;
        put(file, &next, NULL, NULL);
    }
    hsdi_frame alone = {.type = HSDI_FRAME_ALONE, .epoch = 30, .session = 1, .step = N_STEPS};
    alone.alone.n_tokens = 3;
    alone.alone.n_committed = n_text + 3;
    alone.alone.want = 2;
    put(file, &alone, frames_tokens, NULL);
}

int main(int argc, char **argv)
{
    char name[64];
    for (int type = 1; argc == 2 && type <= FRAMES_TYPES; type++) {
        snprintf(name, sizeof name, "type-%02d", type);
        FILE *file = create(argv[1], name);
        hsdi_frame frame = frames_make(type);
        if (!file) {
            return 1;
        }
        put(file, &frame, frames_tokens, frames_proxies);
        fclose(file);
    }
    for (int mode = HSD_MODE_SERIAL; argc == 2 && mode <= HSD_MODE_ASYNC; mode++) {
        for (int is_tree = 0; is_tree < 2; is_tree++) {
            snprintf(name, sizeof name, "session-%d-%d", mode, is_tree);
            FILE *file = create(argv[1], name);
            if (!file) {
                return 1;
            }
            put_session(file, mode, is_tree == 1);
            fclose(file);
        }
    }
    return argc == 2 ? 0 : 2;
}
