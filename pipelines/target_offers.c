/// The target's choice among what its draft workers offer.
///
/// Every worker's last window is kept as far as the text went its way, so that a late answer is
/// still an answer. The leader's window is verified; with room for a tree, the others' join it.
#include <pipelines/target_state.h>
#include <string.h>

/// The helper whose offer leads: a hit before others, then the one that was right most.
static int leader(const hsdi_target *target)
{
    int lead = -1;
    float most = -1.0f;
    for (int i = 0; i < target->n_helpers; i++) {
        const hsdi_helper *helper = &target->helpers[i];
        float worth = helper->n_right + (helper->offer.source != HSDI_SOURCE_FRESH ? 0.5f : 0.0f);
        if (helper->offer.window.n_tokens > 0 && worth > most) {
            lead = i;
            most = worth;
        }
    }
    return lead;
}

void hsdi_helpers_choose(hsdi_target *target, int n_deep, int n_tokens)
{
    target->chosen = n_deep > 0 ? leader(target) : -1;
    target->window.n_tokens = 0;
    if (target->chosen < 0) {
        return;
    }
    target->window = target->helpers[target->chosen].offer.window;
    hsdi_window_prune(&target->window, n_deep, n_tokens);
    for (int i = 0; i < target->n_helpers && n_tokens > n_deep; i++) {
        hsdi_window other = target->helpers[i].offer.window;
        if (i != target->chosen && other.n_tokens > 0) {
            hsdi_window_prune(&other, n_deep, n_tokens);
            hsdi_window_merge(&target->window, &other, n_tokens);
        }
    }
}

bool hsdi_draft_window_follow(hsdi_draft_window *window, const int32_t *tokens, int n_tokens)
{
    size_t n_gone = (size_t)n_tokens * (size_t)window->n_q;
    if (!hsdi_window_follow(&window->window, tokens, n_tokens)) {
        return false;
    }
    if (n_gone > 0) { // with distributions it is a chain
        memmove(window->q, window->q + n_gone,
                (size_t)window->window.n_tokens * (size_t)window->n_q * sizeof *window->q);
    }
    window->n_committed += n_tokens;
    return true;
}

void hsdi_helpers_follow(hsdi_target *target, int n_new)
{
    const int32_t *tokens = target->text + target->n_text - n_new;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        hsdi_window *window = &helper->offer.window;
        if (window->n_tokens > 0) {
            int row = 0, n_right = -1;
            while (row >= 0 && ++n_right < n_new) {
                row = hsdi_window_child(window, row, tokens[n_right]);
            }
            helper->n_right += 0.1f * ((float)n_right - helper->n_right);
            (void)hsdi_draft_window_follow(&helper->offer, tokens, n_new);
            helper->is_carried = true;
        }
    }
}

void hsdi_helpers_share(const hsdi_target *target, hsdi_draft_share *out)
{
    float known = 0.0f, total = 0.0f, sum = 0.0f;
    int n_known = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        float rate = target->helpers[i].rows_per_s;
        known += rate;
        n_known += rate > 0.0f;
    }
    float typical = n_known > 0 ? known / (float)n_known : 1.0f;
    float rates[HSDI_TARGET_MAX_WORKERS] = {0};
    for (int i = 0; i < target->n_helpers; i++) {
        const hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN) {
            rates[i] = helper->rows_per_s > 0.0f ? helper->rows_per_s : typical;
        }
        total += rates[i];
    }
    for (int i = 0; i < target->n_helpers; i++) {
        out[i].low = total > 0.0f ? (int)((float)HSDI_SHARE_ALL * sum / total) : 0;
        sum += rates[i];
        out[i].high = total > 0.0f ? (int)((float)HSDI_SHARE_ALL * sum / total) : HSDI_SHARE_ALL;
        if (sum >= total) {
            out[i].high = HSDI_SHARE_ALL;
        }
    }
}
