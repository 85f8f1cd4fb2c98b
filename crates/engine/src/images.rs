//! Images as containers use them: look-up with the embedded one as last resort, and removal that
//! knows which containers use what.

use berth_image::{Image, LoadOptions, RemoveMode, Removed, Silent, Source};

use crate::core::Core;
use crate::error::{ErrorKind, ImageError, ImagesError, image_kind};

/// The short name of the embedded image.
const EMBEDDED: &str = "demo";

impl Core {
    /// The image of a name. The embedded one is loaded when it is asked for and not there.
    pub(crate) fn image(&self, name: &str) -> Result<Image, ImageError> {
        match self.images.resolve(name) {
            Err(error)
                if image_kind(&error) == ErrorKind::NotFound
                    && (name == EMBEDDED || name == berth_embedded::REFERENCE) =>
            {
                self.load_embedded(name)?;
                self.images.resolve(name).map_err(ImageError::new(name))
            }
            result => result.map_err(ImageError::new(name)),
        }
    }

    fn load_embedded(&self, name: &str) -> Result<(), ImageError> {
        let mut archive = berth_embedded::ARCHIVE;
        self.images
            .load(Source::Reader(&mut archive), &LoadOptions::default(), &Silent)
            .map_err(ImageError::new(name))?;
        Ok(())
    }

    /// Names of the containers that were made of an image. Asked while the store keeps new ones
    /// from being made, so none is overlooked. If it cannot be told, the image counts as used.
    fn users_of(&self, id: &str) -> Vec<String> {
        let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
        let records = self.records().containers();
        match records {
            Ok(records) => {
                let users = records.into_iter().filter(|record| record.image_id == digits);
                users.map(|record| record.name).collect()
            }
            Err(_) => vec!["a container that cannot be told".to_owned()],
        }
    }

    /// Removes an image, or a name of it.
    pub(crate) fn remove_image(
        &self,
        name: &str,
        mode: RemoveMode,
    ) -> Result<Removed, ImagesError> {
        let in_use = |id: &str| self.users_of(id);
        Ok(self.images.remove(name, mode, &in_use).map_err(ImageError::new(name))?)
    }

    /// Removes dangling images and content that nothing refers to; with `all`, every image that no
    /// container uses.
    pub(crate) fn prune_images(&self, all: bool) -> Result<Removed, ImagesError> {
        let in_use = |id: &str| self.users_of(id);
        let removed =
            if all { self.images.prune_unused(&in_use) } else { self.images.prune(&in_use) };
        Ok(removed.map_err(ImageError::new("*"))?)
    }
}
