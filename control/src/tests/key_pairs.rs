//! Key pairs, and the instances that are launched with them.

use super::*;
use crate::{Code, DescribeKeyPairs, Filter, ImportKeyPair, PublicKey, seed};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfEUKoBhYkoupM7ibbV52CdB4ctHp1f7DgtPByrhyya";

fn import_key(cloud: &Cloud, name: &str) -> crate::Result<crate::KeyPair> {
    cloud.import_key_pair(ImportKeyPair {
        name: name.to_owned(),
        public_key: PublicKey::parse(&format!("{KEY} stranger's words")).unwrap(),
        fingerprint: None,
        tags: named("of a tag"),
    })
}

fn names(cloud: &Cloud, filter: &str) -> Vec<String> {
    let filters = vec![Filter::parse(filter).unwrap()];
    let request = DescribeKeyPairs {
        filters,
        ..DescribeKeyPairs::default()
    };
    let found = cloud.describe_key_pairs(&request).unwrap().key_pairs;
    found.into_iter().map(|key_pair| key_pair.key_name).collect()
}

#[test]
fn a_key_pair_is_imported_listed_and_deleted_by_its_name_which_is_taken_once() {
    let home = Home::new();
    let cloud = home.cloud();
    let made = import_key(&cloud, "me").unwrap();
    assert_eq!(made.public_key, format!("{KEY} me"));
    let error = import_key(&cloud, "me").unwrap_err();
    assert_eq!(error.code(), Code::InvalidKeyPairDuplicate);
    import_key(&cloud, "you").unwrap();
    for (filter, found) in [
        ("key-name=m*", &["me"][..]),
        ("tag:Name=of a tag", &["me", "you"]),
        (
            "fingerprint=HMaRvaLNLc2TNomT9btcFBgFuu3gU0k3hwpbX+90tiU=",
            &["me", "you"],
        ),
        (&format!("key-pair-id={}", made.key_pair_id), &["me"]),
    ] {
        assert_eq!(names(&cloud, filter), found, "{filter}");
    }
    let both = ["you".to_owned(), "nobody".to_owned()];
    let error = cloud.delete_key_pairs(&both).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKeyPairNotFound);
    let me = ["me".to_owned()];
    cloud
        .delete_key_pairs(&[me.clone(), me.clone()].concat())
        .unwrap();
    assert_eq!(names(&cloud, "key-name=*"), ["you"]);
    let error = cloud.delete_key_pairs(&me).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKeyPairNotFound);
    let request = DescribeKeyPairs {
        names: me.to_vec(),
        ..DescribeKeyPairs::default()
    };
    let error = cloud.describe_key_pairs(&request).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKeyPairNotFound);
    assert_whole(&cloud);
}

#[test]
fn an_instances_seed_has_its_key_and_keeps_it_when_the_pair_is_gone() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let with = |name: &str| RunInstances {
        key_name: Some(name.to_owned()),
        ..RunInstances::of(image.as_str())
    };
    let error = cloud.run_instances(with("me")).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKeyPairNotFound);
    import_key(&cloud, "me").unwrap();
    let id = launch(&cloud, with("me"));
    let told = |id: &InstanceId| {
        let [meta_data, user_data] = seed::read(&cloud.instance_directory(id));
        assert!(user_data.is_empty());
        String::from_utf8(meta_data).unwrap()
    };
    let with_key = format!("instance-id: {id}\nlocal-hostname: {id}\npublic-keys:\n- \"{KEY} me\"\n");
    assert_eq!(told(&id), with_key);
    assert_eq!(instance(&cloud, &id).key_name.as_deref(), Some("me"));
    cloud.delete_key_pairs(&["me".to_owned()]).unwrap();
    stop(&cloud, &id);
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(told(&id), with_key);
    // An image has no key of whoever made it.
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    let of_bake = run(&cloud, "baked");
    assert!(!seed::is_in(&cloud.instance_directory(&of_bake)));
    assert_whole(&cloud);
}
