/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What of the lint's knowledge matters to who is about to migrate a guest: the findings about the
 * migration and the handoff, not those about boot and everyday timekeeping, and the name of the
 * clock that will stand still on the way.
 */
#include <string.h>

#include "timehandoff/lint.h"

bool th_lint_is_about_migration(const char *id) {
    static const char *const ids[] = {
        "agent-missing",        "agent-channel-name", "agent-channel-type", "agent-channel-mode",
        "rtc-track-guest",      "pit-catchup",        "kvmclock-disabled",  "kvm-hidden",
        "hypervclock-missing",  "hyperv-passthrough", "tsc-frequency",      "tsc-frequency-hosts",
        "invtsc-unpinned",      "cpu-migratable-off", "policy-broken",      "metadata-ignored",
        "policy-contradiction", "policy-too-fine",
    };

    for (size_t i = 0; i < TH_ELEMENTS(ids); i++) {
        if (strcmp(ids[i], id) == 0) {
            return true;
        }
    }
    return false;
}

const char *th_lint_guest_clock(const struct th_guest_facts *facts) {
    if (!facts->kvm) {
        return "emulated timers";
    }
    if (facts->arch == TH_GUEST_ARCH_ARM64) {
        return "virtual counter";
    }
    if (facts->arch != TH_GUEST_ARCH_X86) {
        return "the machine's own";
    }
    if (facts->timers[TH_GUEST_TIMER_HYPERVCLOCK].present == TH_YES) {
        return "Hyper-V reference time";
    }
    return facts->os == TH_GUEST_OS_WINDOWS || facts->kvm_hidden ||
                   facts->timers[TH_GUEST_TIMER_KVMCLOCK].present == TH_NO
               ? "TSC or emulated timers"
               : "kvmclock";
}
