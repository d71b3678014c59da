//! Accesses that leave the guest: ports and addresses, of every size, of devices and of nothing.

use crate::guest::{Code, Shape, run, words};

fn answers(code: Code) -> Vec<u32> {
    words(&run(&code.power_off(), Shape::default()).0)
}

#[test]
fn ports_without_a_device_read_all_ones_at_every_size() {
    let code = [1, 2, 4]
        .into_iter()
        .fold(Code::default(), |code, size| code.input(0x1234, size).print_eax());
    assert_eq!(answers(code), [0xff, 0xffff, 0xffff_ffff]);
}

#[test]
fn addresses_without_a_device_read_all_ones() {
    assert_eq!(
        answers(Code::default().load(0xd000_0000).print_eax()),
        [0xffff_ffff]
    );
}

#[test]
fn the_host_bridge_answers_by_both_configuration_mechanisms() {
    let code = Code::default()
        .load(0xb000_0000)
        .print_eax()
        .out_long(0xcf8, 0x8000_0000)
        .input(0xcfc, 4)
        .print_eax()
        .input(0xcf8, 4)
        .print_eax();
    assert_eq!(answers(code), [0x29c0_8086, 0x29c0_8086, 0x8000_0000]);
}

#[test]
fn the_power_management_block_reads_as_zero_where_it_is_empty() {
    let code = Code::default()
        .input(0x600, 2)
        .print_eax()
        .input(0x620, 4)
        .print_eax();
    assert_eq!(answers(code), [0, 0]);
}

#[test]
fn the_timer_goes_on() {
    let answers = answers(
        Code::default()
            .input(0x608, 4)
            .print_eax()
            .input(0x608, 4)
            .print_eax(),
    );
    assert!(
        answers[1].wrapping_sub(answers[0]) < 1 << 30 && answers[1] != answers[0],
        "{answers:?}"
    );
}

#[test]
fn string_instructions_move_every_element() {
    // Four bytes are put into memory, then: mov esi, 0x200000; mov ecx, 4; cld; rep outsb
    let code = Code::default()
        .store(0x20_0000, u32::from_le_bytes(*b"abcd"))
        .out(0x80, 0)
        .bytes(&[0xbe, 0x00, 0x00, 0x20, 0x00, 0xb9, 0x04, 0x00, 0x00, 0x00, 0xfc])
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e])
        // mov edi, 0x200000; mov ecx, 4; rep insb from the CMOS data port's neighbour: nothing there
        .bytes(&[0xbf, 0x00, 0x00, 0x20, 0x00, 0xb9, 0x04, 0x00, 0x00, 0x00])
        .bytes(&[0x66, 0xba, 0x34, 0x12, 0xf3, 0x6c])
        .load(0x20_0000)
        .print_eax()
        .power_off();
    assert_eq!(run(&code, Shape::default()).0, b"abcd\xff\xff\xff\xff");
}

#[test]
fn pvpanic_says_what_it_knows() {
    assert_eq!(answers(Code::default().input(0x505, 1).print_eax()), [3]);
}
