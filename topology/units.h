/// Quantities as text: "8 GiB", "25 GB/s", "3 us". A number without a unit is none.
#ifndef HSDI_TOPOLOGY_UNITS_H
#define HSDI_TOPOLOGY_UNITS_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What a quantity measures, and in which unit programs hold it.
typedef enum hsdi_unit {
    HSDI_UNIT_BYTES,      ///< bytes
    HSDI_UNIT_RATE,       ///< 1e9 bytes per second
    HSDI_UNIT_OPERATIONS, ///< 1e9 operations per second
    HSDI_UNIT_TIME,       ///< nanoseconds
    HSDI_UNIT_POWER,      ///< watts
} hsdi_unit;

enum { HSDI_QUANTITY_CHARS = 48 };

/// A number from 0 on, a space or none, a unit of `unit`'s.
///
/// Result : false with a sentence in why [cap] about what is wrong with it; *out untouched.
bool hsdi_quantity_parse(const char *text, hsdi_unit unit, double *out, char *why, size_t cap);

/// Text that gives the same number again, in the unit that reads best.
void hsdi_quantity_print(double value, hsdi_unit unit, char out[HSDI_QUANTITY_CHARS]);

/// Text for people: three digits.
void hsdi_quantity_show(double value, hsdi_unit unit, char out[HSDI_QUANTITY_CHARS]);

#endif
