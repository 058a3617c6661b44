/// The target pipeline's arms: what changes when the watch takes another one.
#include <pipelines/target_state.h>

/// Workers hear nothing of it: proxies come from wherever the exit is.
static void move_exit(hsdi_target *target, int exit_layer)
{
    hsd_error err = {0};
    if (exit_layer == 0 || exit_layer == target->exit_layer || !target->stage.cut) {
        return;
    }
    if (target->stage.cut(target->stage.self, exit_layer, &err) == HSD_OK) {
        target->exit_layer = exit_layer;
    } else {
        hsdi_logf(&target->config.log, HSDI_LOG_WARN, "the early exit stays at layer %d: %s: %s",
                  target->exit_layer, err.where, err.message);
    }
}

/// Settings of an arm, as workers are told; the target alone leaves them as they are.
static void apply(hsdi_target *target, int i_arm)
{
    const hsdi_watch_arm *arm = &target->watch.config.arms[i_arm];
    hsdi_draft_config *draft = &target->config.draft;
    if (arm->mode == HSD_MODE_AR) {
        return;
    }
    bool is_mirror = arm->mode == HSD_MODE_MIRROR;
    int tree = target->stage.judge || arm->tree < arm->window ? arm->window : arm->tree;
    int n_proxies = is_mirror ? target->n_proxies_most : 0;
    target->reopens |= target->config.mode != arm->mode || draft->window != arm->window ||
                       draft->tree != tree || draft->roots != arm->roots;
    target->config.mode = arm->mode;
    target->config.n_proxies = n_proxies;
    draft->mode = (int)arm->mode;
    draft->window = arm->window;
    draft->tree = tree;
    draft->miss_window = is_mirror ? (arm->window + 1) / 2 : arm->window;
    draft->roots = arm->roots;
    if (is_mirror) {
        move_exit(target, arm->exit_layer);
    }
}

void hsdi_target_watch_init(hsdi_target *target, const hsdi_watch_config *config)
{
    target->forced_arm = -1;
    target->has_watch = config != NULL;
    if (!config) {
        return;
    }
    hsdi_watch_init(&target->watch, config);
    bool is_fixed = target->pace.is_fixed;
    for (int i = 0; i < config->n_arms; i++) {
        const hsdi_watch_arm *arm = &config->arms[i];
        hsdi_pace_init(&target->paces[i], arm->window, is_fixed, true);
        if (arm->step_ns[0] > 0.0f) {
            hsdi_pace_expect(&target->paces[i], arm->step_ns, arm->accept);
        }
    }
    target->arm = config->first;
    target->pace = target->paces[config->first];
    apply(target, config->first);
    target->reopens = false; // nobody was told anything yet
}

bool hsdi_target_is_alone_arm(const hsdi_target *target)
{
    return target->has_watch && target->watch.config.arms[target->arm].mode == HSD_MODE_AR;
}

/// What is known of acceptance holds in every arm; times do not.
static void change_arm(hsdi_target *target, int to)
{
    const hsdi_pace from = target->pace;
    target->paces[target->arm] = from;
    target->pace = target->paces[to];
    for (int d = 0; d <= HSDI_WINDOW_MAX; d++) {
        target->pace.tried[d] = from.tried[d];
        target->pace.accepted[d] = from.accepted[d];
    }
    hsdi_pace_begin(&target->pace);
    target->arm = to;
    target->stats.replans++;
    apply(target, to);
}

int hsdi_target_next_want(hsdi_target *target)
{
    if (target->has_watch) {
        int arm = hsdi_watch_choose(&target->watch);
        bool is_forced = target->forced_arm >= 0;
        arm = is_forced ? target->forced_arm : arm;
        target->forced_arm = -1;
        if (arm != target->arm) {
            hsdi_logf(&target->config.log, HSDI_LOG_INFO, "plan: %s",
                      is_forced ? "an arm was asked for" : target->watch.why);
            target->watch.now = arm;
            change_arm(target, arm);
        }
    }
    return hsdi_target_is_alone_arm(target) ? 0 : hsdi_pace_choose(&target->pace);
}

void hsdi_target_set_arm(hsdi_target *target, int i_arm)
{
    bool is_arm = target->has_watch && i_arm >= 0 && i_arm < target->watch.config.n_arms;
    target->forced_arm = is_arm ? i_arm : -1;
}

const hsdi_watch *hsdi_target_watch(const hsdi_target *target)
{
    return target->has_watch ? &target->watch : NULL;
}
