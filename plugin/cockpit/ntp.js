/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dialog that applies the organisation's NTP list: first it shows the change, then it makes
 * that very change. If it has become another one meanwhile, the new one is shown and asked about.
 */
import {element, show} from "./dom.js";

const NOTHING = "nothing to change";

export function ntpDialog(dialog, host, applied) {
    const words = dialog.querySelector("#plan-words");
    const apply = dialog.querySelector("[data-act=apply]");
    const close = dialog.querySelector("[data-act=close]");
    let planned = null;

    function tell(text, out, question = false) {
        apply.hidden = !question;
        close.textContent = question ? "Cancel" : "Close";
        show(words, element("p", {}, text),
             out ? element("pre", {tabindex: 0, "aria-label": "Details"}, out.trim()) : null);
    }

    function offer(plan, first) {
        planned = plan.out;
        if (plan.code !== 0) {
            tell("The list cannot be applied.", plan.out || plan.why);
        } else if (plan.out.includes(NOTHING)) {
            tell("This host has all of the list already.", plan.out);
        } else {
            tell(first, plan.out, true);
        }
    }

    async function make() {
        apply.hidden = true;
        const plan = await host.planNtp();

        if (plan.code !== 0 || plan.out !== planned) {
            offer(plan, "The change is another one now. This would be changed:");
            return;
        }
        tell("Applying…");
        const done = await host.applyNtp();

        tell(done.code === 0 ? "Applied." : "Not all of it could be done.", done.out || done.why);
        close.focus();
        applied();
    }

    apply.addEventListener("click", make);
    close.addEventListener("click", () => dialog.close());
    return {
        async open() {
            tell("Looking what would change…");
            dialog.showModal();
            offer(await host.planNtp(), "This would be changed:");
        },
    };
}
