//! What a guest has for each of its processors.

use kiln_tests::Home;

#[test]
fn linux_has_a_request_queue_for_each_vcpu() {
    let store = Home::new();
    let guest = store.launch("tiny", &["--type", "t3.micro"]);
    assert_eq!(guest.says("nproc; ls /sys/block/vda/mq | wc -l"), "2\n2");
}
