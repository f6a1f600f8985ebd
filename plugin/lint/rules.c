/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can go wrong with a guest's time, one rule each, and the line that puts it right. The rules
 * are pure and know nothing of XML; their ids are a promise to those who filter for them. What
 * libvirt refuses by itself is said only where its refusal comes late, at the start of the guest.
 */
#include "lint/rules.h"

#include <string.h>

/* No measurement over a network is better than this, so nothing would ever be proven. */
#define FINEST_LIMIT_NS (10 * TH_NS_PER_US)

static const struct th_guest_timer *timer(const struct th_guest_facts *facts,
                                          enum th_guest_timer_kind kind) {
    return &facts->timers[kind];
}

static bool is_given(const struct th_guest_facts *facts, enum th_guest_timer_kind kind) {
    return timer(facts, kind)->present == TH_YES;
}

static bool policy_is(const struct th_guest_timer *timer, const char *tickpolicy) {
    return strcmp(timer->tickpolicy, tickpolicy) == 0;
}

static bool is_x86_kvm(const struct th_guest_facts *facts) {
    return facts->kvm && facts->arch == TH_GUEST_ARCH_X86;
}

static bool is_windows(const struct th_guest_facts *facts) {
    return facts->os == TH_GUEST_OS_WINDOWS;
}

static bool may_be_linux(const struct th_guest_facts *facts) {
    return facts->os == TH_GUEST_OS_LINUX || facts->os == TH_GUEST_OS_UNKNOWN;
}

static bool offset_is(const struct th_guest_facts *facts, const char *offset) {
    return strcmp(facts->clock_offset, offset) == 0;
}

/* ---- the agent ---- */

static bool agent_missing(const struct th_guest_facts *facts) {
    return facts->agent == TH_GUEST_AGENT_NONE && facts->policy.handoff != TH_HANDOFF_OFF;
}

static void say_agent_channel_name(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "the channel is named '%s', and libvirt looks for the agent under "
             "org.qemu.guest_agent.0 only",
             facts->agent_found);
}

static bool agent_channel_name(const struct th_guest_facts *facts) {
    return facts->agent == TH_GUEST_AGENT_WRONG_NAME;
}

static void say_agent_channel_type(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "the agent's channel is of type '%s', and libvirt talks to an agent only through a "
             "virtio channel on a unix socket",
             facts->agent_found);
}

static bool agent_channel_type(const struct th_guest_facts *facts) {
    return facts->agent == TH_GUEST_AGENT_WRONG_TYPE;
}

static bool agent_channel_mode(const struct th_guest_facts *facts) {
    return facts->agent == TH_GUEST_AGENT_WRONG_MODE;
}

/* ---- the RTC ---- */

static bool rtc_track_guest(const struct th_guest_facts *facts) {
    return strcmp(timer(facts, TH_GUEST_TIMER_RTC)->track, "guest") == 0;
}

static bool rtc_localtime(const struct th_guest_facts *facts) {
    bool local = offset_is(facts, "localtime") || offset_is(facts, "timezone") ||
                 (offset_is(facts, "variable") && strcmp(facts->clock_basis, "localtime") == 0);

    return local && (facts->os == TH_GUEST_OS_LINUX || facts->os == TH_GUEST_OS_BSD);
}

static bool rtc_utc_windows(const struct th_guest_facts *facts) {
    return is_windows(facts) && (offset_is(facts, "utc") || offset_is(facts, ""));
}

static bool clock_absolute(const struct th_guest_facts *facts) {
    return offset_is(facts, "absolute");
}

/* Windows needs its time zone there. */
static void say_clock_variable(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    const char *adjustment = facts->clock_adjustment;

    if (adjustment[0] && strcmp(adjustment, "0") != 0) {
        snprintf(why, TH_LINT_WHY_SIZE,
                 "the guest's RTC starts %s s off, because libvirt keeps what a guest writes into "
                 "it, also where that was wrong",
                 adjustment);
    }
}

static bool clock_variable(const struct th_guest_facts *facts) {
    return offset_is(facts, "variable") && !is_windows(facts);
}

static bool rtc_tickpolicy(const struct th_guest_facts *facts) {
    return is_windows(facts) && facts->arch == TH_GUEST_ARCH_X86 &&
           !policy_is(timer(facts, TH_GUEST_TIMER_RTC), "catchup");
}

static bool qemu_rtc_argument(const struct th_guest_facts *facts) {
    return facts->qemu_rtc;
}

/* ---- ticks ---- */

static bool pit_catchup(const struct th_guest_facts *facts) {
    const struct th_guest_timer *pit = timer(facts, TH_GUEST_TIMER_PIT);

    return facts->arch == TH_GUEST_ARCH_X86 && pit->present != TH_NO && policy_is(pit, "catchup");
}

static bool pit_tickpolicy(const struct th_guest_facts *facts) {
    const struct th_guest_timer *pit = timer(facts, TH_GUEST_TIMER_PIT);

    return is_x86_kvm(facts) && pit->present != TH_NO && policy_is(pit, "");
}

/* What libvirt refuses when the guest is to be started. */
static const char *unsupported(const struct th_guest_facts *facts) {
    const struct th_guest_timer *rtc = timer(facts, TH_GUEST_TIMER_RTC);
    const struct th_guest_timer *pit = timer(facts, TH_GUEST_TIMER_PIT);
    const struct th_guest_timer *arm = timer(facts, TH_GUEST_TIMER_ARMVTIMER);
    bool x86 = facts->arch == TH_GUEST_ARCH_X86;
    bool arm_kvm = facts->arch == TH_GUEST_ARCH_ARM64 && facts->kvm;
    const struct {
        bool refused;
        const char *what;
    } cases[] = {
        {policy_is(rtc, "merge") || policy_is(rtc, "discard"), "tick policy of rtc"},
        {policy_is(pit, "merge"), "tick policy of pit"},
        {policy_is(arm, "merge") || policy_is(arm, "catchup"), "tick policy of armvtimer"},
        {strcmp(rtc->track, "boot") == 0, "track of rtc"},
        {timer(facts, TH_GUEST_TIMER_PLATFORM)->listed, "timer platform"},
        {arm->listed && !arm_kvm, "timer armvtimer, which is for arm64 with KVM,"},
        {!x86 && is_given(facts, TH_GUEST_TIMER_KVMCLOCK), "timer kvmclock, which is for x86,"},
        {!x86 && is_given(facts, TH_GUEST_TIMER_HYPERVCLOCK),
         "timer hypervclock, which is for x86,"},
        {!x86 && is_given(facts, TH_GUEST_TIMER_HPET), "timer hpet, which is for x86,"},
    };

    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        if (cases[i].refused) {
            return cases[i].what;
        }
    }
    return NULL;
}

static void say_timer_unsupported(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE, "libvirt's QEMU driver does not start a guest with this %s",
             unsupported(facts));
}

static bool timer_unsupported(const struct th_guest_facts *facts) {
    return unsupported(facts) != NULL;
}

/* ---- clocks that the hypervisor gives ---- */

static bool kvm_missing(const struct th_guest_facts *facts) {
    return !facts->kvm;
}

static bool kvmclock_disabled(const struct th_guest_facts *facts) {
    return is_x86_kvm(facts) && !is_windows(facts) &&
           timer(facts, TH_GUEST_TIMER_KVMCLOCK)->present == TH_NO;
}

static bool kvm_hidden(const struct th_guest_facts *facts) {
    return is_x86_kvm(facts) && !is_windows(facts) && facts->kvm_hidden;
}

/* Passthrough turns on whatever the host has. */
static bool wants_hyperv(const struct th_guest_facts *facts) {
    return is_x86_kvm(facts) && is_windows(facts) && !facts->hyperv_passthrough;
}

static bool hypervclock_missing(const struct th_guest_facts *facts) {
    return wants_hyperv(facts) && !is_given(facts, TH_GUEST_TIMER_HYPERVCLOCK);
}

static bool hyperv_relaxed(const struct th_guest_facts *facts) {
    return wants_hyperv(facts) && !facts->hyperv_relaxed;
}

static bool hyperv_stimer(const struct th_guest_facts *facts) {
    return wants_hyperv(facts) && !facts->hyperv_stimer;
}

static bool hyperv_stimer_incomplete(const struct th_guest_facts *facts) {
    return facts->hyperv_stimer && !facts->hyperv_passthrough &&
           !(facts->hyperv_synic && facts->hyperv_vpindex &&
             is_given(facts, TH_GUEST_TIMER_HYPERVCLOCK));
}

static bool hyperv_passthrough(const struct th_guest_facts *facts) {
    return facts->hyperv_passthrough;
}

static bool armvtimer_delay(const struct th_guest_facts *facts) {
    return facts->arch == TH_GUEST_ARCH_ARM64 && facts->kvm &&
           policy_is(timer(facts, TH_GUEST_TIMER_ARMVTIMER), "delay");
}

static bool has_kvm_clock(const struct th_guest_facts *facts) {
    return facts->arch == TH_GUEST_ARCH_ARM64 ||
           (facts->arch == TH_GUEST_ARCH_X86 && !facts->kvm_hidden &&
            timer(facts, TH_GUEST_TIMER_KVMCLOCK)->present != TH_NO);
}

static bool ptp_kvm_possible(const struct th_guest_facts *facts) {
    return facts->kvm && may_be_linux(facts) && has_kvm_clock(facts);
}

static bool vmclock_possible(const struct th_guest_facts *facts) {
    return is_x86_kvm(facts) && may_be_linux(facts) && facts->machine_major >= 10 &&
           !facts->qemu_vmclock;
}

/* ---- the TSC, and the CPU ---- */

static bool is_pinned(const struct th_guest_facts *facts) {
    return timer(facts, TH_GUEST_TIMER_TSC)->frequency[0] != '\0';
}

/* Such a CPU has invtsc wherever the host has it. */
static bool has_invtsc(const struct th_guest_facts *facts) {
    return facts->invtsc || facts->cpu_not_migratable;
}

static void say_tsc_mode(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "libvirt's QEMU driver ignores mode='%s' of the tsc timer: only Xen has it",
             timer(facts, TH_GUEST_TIMER_TSC)->mode);
}

static bool tsc_mode(const struct th_guest_facts *facts) {
    return timer(facts, TH_GUEST_TIMER_TSC)->mode[0] != '\0';
}

static void say_tsc_frequency(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "the TSC is pinned to %s Hz, so every host the guest may come to needs TSC scaling or "
             "this very frequency",
             timer(facts, TH_GUEST_TIMER_TSC)->frequency);
}

static bool tsc_frequency(const struct th_guest_facts *facts) {
    return is_pinned(facts) && !has_invtsc(facts);
}

/* With invtsc the pin is what makes migration possible at all: no reproach then. */
static void say_tsc_frequency_hosts(const struct th_guest_facts *facts,
                                    char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "the TSC is pinned to %s Hz, as invtsc needs it; look that every host the guest may "
             "come to has TSC scaling or this very frequency",
             timer(facts, TH_GUEST_TIMER_TSC)->frequency);
}

static bool tsc_frequency_hosts(const struct th_guest_facts *facts) {
    return is_pinned(facts) && has_invtsc(facts);
}

static bool invtsc_unpinned(const struct th_guest_facts *facts) {
    return facts->arch == TH_GUEST_ARCH_X86 && facts->invtsc && !is_pinned(facts);
}

static bool cpu_migratable_off(const struct th_guest_facts *facts) {
    return facts->cpu_not_migratable && !is_pinned(facts);
}

/* ---- sleep ---- */

static bool suspend_to_mem(const struct th_guest_facts *facts) {
    return facts->suspend_to_mem;
}

static bool suspend_to_disk(const struct th_guest_facts *facts) {
    return facts->suspend_to_disk;
}

/* ---- our own metadata ---- */

static void say_policy_broken(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE, "the domain's policy does not count (%s)", facts->complaint);
}

static bool policy_broken(const struct th_guest_facts *facts) {
    return strstr(facts->complaint, "policy ignored") != NULL;
}

static void say_metadata_ignored(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE, "some of timehandoff's metadata is ignored (%s)",
             facts->complaint);
}

static bool metadata_ignored(const struct th_guest_facts *facts) {
    return facts->complaint[0] != '\0' && !strstr(facts->complaint, "policy ignored");
}

static void say_policy_contradiction(const struct th_guest_facts *facts,
                                     char why[TH_LINT_WHY_SIZE]) {
    snprintf(why, TH_LINT_WHY_SIZE,
             "the policy allows steps backward, and with handoff='%s' there are no steps at all",
             th_handoff_mode_name(facts->policy.handoff));
}

static bool policy_contradiction(const struct th_guest_facts *facts) {
    enum th_handoff_mode handoff = facts->policy.handoff;

    return facts->has_policy && facts->policy.backward == TH_YES &&
           (handoff == TH_HANDOFF_REPORT || handoff == TH_HANDOFF_OFF);
}

static bool is_too_fine(int64_t limit_ns) {
    return limit_ns >= 0 && limit_ns < FINEST_LIMIT_NS;
}

static bool policy_too_fine(const struct th_guest_facts *facts) {
    return facts->has_policy &&
           (is_too_fine(facts->policy.warn_ns) || is_too_fine(facts->policy.block_ns));
}

/* ---- the table ---- */

#define AGENT_LINE                                                                                 \
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"

const struct th_lint_rule th_lint_rules[] = {
    {"agent-missing", TH_LINT_ERROR, agent_missing, NULL,
     "there is no agent channel, so the guest's clock can be neither read nor stepped", AGENT_LINE},
    {"agent-channel-name", TH_LINT_ERROR, agent_channel_name, say_agent_channel_name, "",
     AGENT_LINE},
    {"agent-channel-type", TH_LINT_ERROR, agent_channel_type, say_agent_channel_type, "",
     AGENT_LINE},
    {"agent-channel-mode", TH_LINT_ERROR, agent_channel_mode, NULL,
     "the agent's channel has mode='connect', so QEMU waits for somebody else's socket and libvirt "
     "finds no agent",
     AGENT_LINE},
    {"rtc-track-guest", TH_LINT_ERROR, rtc_track_guest, NULL,
     "the RTC stops with the guest, so it is late by every pause, and whatever reads it after a "
     "restore gets the wrong time",
     "<timer name='rtc' track='wall'/>"},
    {"rtc-localtime", TH_LINT_WARNING, rtc_localtime, NULL,
     "the RTC shows local time and this system reads it as UTC, so it boots hours off",
     "<clock offset='utc'>"},
    {"rtc-utc-windows", TH_LINT_WARNING, rtc_utc_windows, NULL,
     "the RTC shows UTC and Windows reads it as local time, unless RealTimeIsUniversal is set in "
     "its registry",
     "<clock offset='localtime'>"},
    {"clock-absolute", TH_LINT_ERROR, clock_absolute, NULL,
     "the RTC begins at the same date with every start of the guest", "<clock offset='utc'>"},
    {"clock-variable", TH_LINT_HINT, clock_variable, say_clock_variable,
     "libvirt keeps what the guest writes into its RTC across restarts, also where that was wrong",
     "<clock offset='utc'>"},
    {"rtc-tickpolicy", TH_LINT_HINT, rtc_tickpolicy, NULL,
     "RTC ticks lost while the host was busy are not made up for, and Windows may count them",
     "<timer name='rtc' tickpolicy='catchup'/>"},
    {"qemu-rtc-argument", TH_LINT_WARNING, qemu_rtc_argument, NULL,
     "-rtc is given to QEMU behind libvirt's back, so what <clock> says may not hold; take it out "
     "of <qemu:commandline>",
     "<clock offset='utc'>"},
    {"pit-catchup", TH_LINT_WARNING, pit_catchup, NULL,
     "lost PIT ticks are delivered in a burst, so a guest that counts them runs ahead after it was "
     "stepped",
     "<timer name='pit' tickpolicy='delay'/>"},
    {"pit-tickpolicy", TH_LINT_HINT, pit_tickpolicy, NULL,
     "KVM delivers lost PIT ticks in a burst by default, which guests that count them do not bear",
     "<timer name='pit' tickpolicy='delay'/>"},
    {"timer-unsupported", TH_LINT_ERROR, timer_unsupported, say_timer_unsupported, "", ""},
    {"kvm-missing", TH_LINT_HINT, kvm_missing, NULL,
     "without KVM the guest loses every pause in full and has no clock of the host's to follow",
     "<domain type='kvm'>"},
    {"kvmclock-disabled", TH_LINT_WARNING, kvmclock_disabled, NULL,
     "without kvmclock the guest falls back to the TSC or to slow timers, and has no ptp_kvm",
     "<timer name='kvmclock' present='yes'/>"},
    {"kvm-hidden", TH_LINT_WARNING, kvm_hidden, NULL,
     "KVM is hidden from the guest, so it uses neither kvmclock nor ptp_kvm",
     "<kvm><hidden state='off'/></kvm>"},
    {"hypervclock-missing", TH_LINT_WARNING, hypervclock_missing, NULL,
     "without the Hyper-V reference clock Windows keeps time by emulated timers",
     "<timer name='hypervclock' present='yes'/>"},
    {"hyperv-relaxed", TH_LINT_HINT, hyperv_relaxed, NULL,
     "Windows may stop with a watchdog error when a host is busy or a migration is long",
     "<relaxed state='on'/>"},
    {"hyperv-stimer", TH_LINT_HINT, hyperv_stimer, NULL,
     "Windows takes its ticks from emulated timers, which costs time and loses ticks",
     "<vpindex state='on'/><synic state='on'/><stimer state='on'/>"},
    {"hyperv-stimer-incomplete", TH_LINT_ERROR, hyperv_stimer_incomplete, NULL,
     "QEMU does not start with stimer unless vpindex, synic and the hypervclock timer are on as "
     "well",
     "<vpindex state='on'/><synic state='on'/><timer name='hypervclock' present='yes'/>"},
    {"hyperv-passthrough", TH_LINT_WARNING, hyperv_passthrough, NULL,
     "with Hyper-V passthrough QEMU refuses to migrate the guest", "<hyperv mode='custom'>"},
    {"armvtimer-delay", TH_LINT_HINT, armvtimer_delay, NULL,
     "the guest counts its pauses, so its clock is right after one, and its timers all fire at "
     "once",
     "<timer name='armvtimer' tickpolicy='discard'/>"},
    {"ptp-kvm-possible", TH_LINT_HINT, ptp_kvm_possible, NULL,
     "a Linux guest can read this host's clock through ptp_kvm: see 'timehandoff guest ptp'", ""},
    {"vmclock-possible", TH_LINT_HINT, vmclock_possible, NULL,
     "this machine type's QEMU has vmclock, which tells a guest with Linux 6.13 or later that it "
     "was migrated; libvirt has no element for it and marks the domain as tainted",
     "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='vmclock'/></qemu:commandline>"},
    {"tsc-mode", TH_LINT_WARNING, tsc_mode, say_tsc_mode, "", "<timer name='tsc'/>"},
    {"tsc-frequency", TH_LINT_WARNING, tsc_frequency, say_tsc_frequency, "", "<timer name='tsc'/>"},
    {"tsc-frequency-hosts", TH_LINT_HINT, tsc_frequency_hosts, say_tsc_frequency_hosts, "", ""},
    {"invtsc-unpinned", TH_LINT_ERROR, invtsc_unpinned, NULL,
     "QEMU refuses to migrate a guest with invtsc unless the TSC's frequency is pinned: give it to "
     "the tsc timer ('virsh capabilities' names it), or do without invtsc",
     "<feature policy='disable' name='invtsc'/>"},
    {"cpu-migratable-off", TH_LINT_ERROR, cpu_migratable_off, NULL,
     "with migratable='off' the guest gets CPU features, invtsc among them, with which QEMU "
     "refuses to migrate it",
     "<cpu mode='host-passthrough' migratable='on'/>"},
    {"suspend-to-mem", TH_LINT_HINT, suspend_to_mem, NULL,
     "the guest may put itself to sleep; its agent is silent then, and it can be given the time "
     "only after it woke up",
     "<suspend-to-mem enabled='no'/>"},
    {"suspend-to-disk", TH_LINT_HINT, suspend_to_disk, NULL,
     "the guest may hibernate; libvirt sees a guest that is off, so its return is taken for a boot "
     "and nobody steps its clock",
     "<suspend-to-disk enabled='no'/>"},
    {"policy-broken", TH_LINT_ERROR, policy_broken, say_policy_broken, "",
     "<th:policy xmlns:th=\"urn:timehandoff:1\" warn=\"1ms\" block=\"5ms\"/>"},
    {"metadata-ignored", TH_LINT_WARNING, metadata_ignored, say_metadata_ignored, "", ""},
    {"policy-contradiction", TH_LINT_WARNING, policy_contradiction, say_policy_contradiction, "",
     "<th:policy xmlns:th=\"urn:timehandoff:1\" handoff=\"step\" backward=\"yes\"/>"},
    {"policy-too-fine", TH_LINT_WARNING, policy_too_fine, NULL,
     "the policy's limits are below 10 us, which no measurement over a network can prove, so every "
     "migration will warn",
     "<th:policy xmlns:th=\"urn:timehandoff:1\" warn=\"1ms\" block=\"5ms\"/>"},
};

const size_t th_lint_rules_n = TH_ELEMENTS(th_lint_rules);
