//! What an image would boot, read from its disk.

use crate::image::ImageBoot;
use crate::{Cloud, Reply, Result, disk_file};

impl Cloud {
    /// The entry of the image's own boot menu that a launch would take, and why. Nothing is written.
    pub fn boot_of_image(&self, image: &str) -> Result<Reply<ImageBoot>> {
        let (layer, _) = self.root_layer(image)?;
        let (found, warnings) = disk_file::what_it_boots(self.layers.open_chain(&layer)?)?;
        Ok(Reply::with(found.into(), warnings))
    }
}
