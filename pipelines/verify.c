/// Coupled sampling makes the target's token a function of its context, so equality is the whole
/// rule: no draft probabilities are needed.
#include <pipelines/verify.h>

int hsdi_verify(const hsdi_window *window, const int32_t *own)
{
    int row = 0, child;
    while ((child = hsdi_window_child(window, row, own[row])) >= 0) {
        row = child;
    }
    return row;
}
