/// Numbers in files and JSON have a decimal point, whatever locale the host application has set.
///
///     hsdi_numbers before = hsdi_numbers_plain();
///     ... printf, strtod, libcyaml ...
///     hsdi_numbers_back(before);
#ifndef HSDI_BASE_NUMBERS_H
#define HSDI_BASE_NUMBERS_H

#include <locale.h>

/// The locale of the thread before. Plain data.
typedef struct hsdi_numbers {
    locale_t plain, before;
} hsdi_numbers;

/// From here on this thread prints and reads numbers as the C locale does. Other threads do not
/// notice. Pairs nest.
///
/// Errors : none; without memory for a locale (glibc needs none) nothing changes.
/// Thread : hsdi_numbers_back must follow on the same one.    Cost: some loads.
hsdi_numbers hsdi_numbers_plain(void);
void hsdi_numbers_back(hsdi_numbers before);

#endif
