//! What a guest finds out about its machine.

use kiln_tests::Home;

#[test]
fn a_guest_finds_its_maker_its_type_and_its_id_in_the_machines_tables() {
    let home = Home::new();
    let guest = home.launch("tiny", &["--type", "t3.small"]);
    let of = |name: &str| guest.says(&format!("cat /sys/class/dmi/id/{name}"));
    assert_eq!(of("sys_vendor"), "Kiln");
    assert_eq!(of("product_name"), "t3.small");
    assert_eq!(of("product_serial"), guest.id());
    assert_eq!(of("chassis_asset_tag"), guest.id());
    let digits = guest.id().trim_start_matches("i-");
    assert_eq!(
        of("product_uuid").replace('-', ""),
        format!("ec2{digits}{}", &digits[..12])
    );
}
