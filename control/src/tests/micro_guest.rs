//! Guests of a few instructions, as kernels.

use kiln_tests::Program;

/// Says `up` on ttyS0, then waits for the power button and powers off.
pub(super) fn minds_the_button() -> Vec<u8> {
    up().wait_for_the_button().power_off().elf()
}

/// Says `up` and waits for ever.
pub(super) fn ignores_everything() -> Vec<u8> {
    up().halt().elf()
}

/// Powers off at once.
pub(super) fn ends_by_itself() -> Vec<u8> {
    up().power_off().elf()
}

fn up() -> Program {
    Program::default().print("up\n")
}
