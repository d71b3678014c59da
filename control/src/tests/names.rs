//! Whose image a name means.

use super::*;
use crate::{Code, DescribeImages, Owner};

/// A second account of a home.
fn stranger(home: &Home) -> Cloud {
    let cloud = home.cloud();
    cloud
        .catalog
        .write(|tx| {
            tx.execute(
                "INSERT OR IGNORE INTO accounts (id, name, created) VALUES ('999999999999', 'stranger', 0)",
                [],
            )?;
            Ok(())
        })
        .unwrap();
    let mut options = home.options();
    options.account = Some("stranger".to_owned());
    Cloud::open_with(options, home.machines.clone()).unwrap()
}

#[test]
fn hazard_a_strangers_image_of_a_well_known_name_is_never_launched() {
    let home = Home::new();
    let cloud = home.cloud();
    let own = import(&cloud, "debian-12");
    let theirs = import(&stranger(&home), "debian-12");
    let only_theirs = import(&stranger(&home), "debian-13");

    let id = run(&cloud, "debian-12");
    assert_eq!(instance(&cloud, &id).image_id, own);
    for text in ["debian-13", &only_theirs, &theirs] {
        let error = cloud.run_instances(RunInstances::of(text)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidAmiIdNotFound, "{text}");
    }
    for owners in [vec![], vec![Owner::Own], vec![Owner::Kiln], vec![Owner::Anyone]] {
        let request = DescribeImages {
            owners,
            ..DescribeImages::default()
        };
        let images = cloud.describe_images(request).unwrap().images;
        assert!(images.iter().all(|image| image.image_id == own), "{images:?}");
    }
}

#[test]
fn a_name_is_unique_in_its_account_until_its_image_is_deregistered() {
    let home = Home::new();
    let cloud = home.cloud();
    let first = import(&cloud, "base");
    let id = run(&cloud, "base");
    let error = cloud.create_image(bake(&id, "base", Reboot::No)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidAmiNameDuplicate);
    assert!(error.to_string().contains(&first), "{error}");
    let request = crate::DeregisterImage {
        image: first,
        snapshots: crate::OnDeregister::default(),
    };
    cloud.deregister_image(request).unwrap();
    cloud.create_image(bake(&id, "base", Reboot::No)).unwrap();
    assert_whole(&cloud);
}

#[test]
fn regions_do_not_see_each_other() {
    let home = Home::new();
    import(&home.cloud(), "base");
    let mut options = home.options();
    options.region = crate::Region::parse("eu-west-1").unwrap();
    let other = Cloud::open_with(options, home.machines.clone()).unwrap();
    assert!(
        other
            .describe_images(DescribeImages::default())
            .unwrap()
            .images
            .is_empty()
    );
    import(&other, "base");
    run(&other, "base");
    assert!(
        home.cloud()
            .describe_instances(DescribeInstances::default())
            .unwrap()
            .reservations
            .is_empty()
    );
    assert_whole(&other);
    assert_whole(&home.cloud());
}

#[test]
fn two_homes_never_meet() {
    let (one, other) = (Home::new(), Home::new());
    import(&one.cloud(), "base");
    assert!(
        other
            .cloud()
            .describe_images(DescribeImages::default())
            .unwrap()
            .images
            .is_empty()
    );
}

#[test]
fn tags_find_a_thing_by_its_name_whatever_it_is() {
    let (_home, cloud, id) = started();
    cloud.create_tags(&[id.to_string()], &named("web")).unwrap();
    cloud
        .create_tags(
            &["web".to_owned(), "base".to_owned()],
            &[Tag::parse("team=blue").unwrap()],
        )
        .unwrap();
    assert_eq!(cloud.resolve_instance("web").unwrap(), id);
    let filters = vec![crate::Filter::parse("tag:team=blue").unwrap()];
    let request = DescribeImages {
        filters,
        ..DescribeImages::default()
    };
    assert_eq!(cloud.describe_images(request).unwrap().images.len(), 1);
    let error = cloud
        .create_tags(&["nothing".to_owned()], &named("x"))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidId);
}

#[test]
fn an_instance_that_is_named_twice_is_meant_once() {
    let (_home, cloud, id) = started();
    cloud.create_tags(&[id.to_string()], &named("web")).unwrap();
    let changes = cloud
        .terminate_instances(&["web".to_owned(), id.to_string()])
        .unwrap();
    assert_eq!(changes.document.terminating_instances.len(), 1);
}

#[test]
fn a_tag_goes_to_the_exact_name_and_never_to_one_of_several_meanings() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    import(&cloud, "web-image");
    let team = |text: &str| cloud.create_tags(&[text.to_owned()], &[Tag::parse("team=blue").unwrap()]);
    let id = run(&cloud, "base");
    cloud.create_tags(&[id.to_string()], &named("web")).unwrap();
    team("web").unwrap();
    // One image and two instances begin so: the image alone is not what was meant.
    cloud.create_tags(&[id.to_string()], &named("web-1")).unwrap();
    let other = run(&cloud, "base");
    cloud.create_tags(&[other.to_string()], &named("web-2")).unwrap();
    for text in ["web", "web-"] {
        assert_eq!(team(text).unwrap_err().code(), Code::InvalidParameterValue);
    }
    team("web-image").unwrap();
    // That two images begin so does not hide the instance that is called so.
    import(&cloud, "web-image-2");
    cloud.create_tags(&[id.to_string()], &named("web")).unwrap();
    team("web").unwrap();
}
