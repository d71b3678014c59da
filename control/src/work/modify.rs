//! ModifyInstanceAttribute, as far as it goes: a stopped instance gets another type, for its next start.

use crate::catalog::instances;
use crate::instance::{ModifiedInstance, ModifyInstance};
use crate::instance_type::InstanceType;
use crate::state::InstanceState;
use crate::{Cloud, Code, Error, Reply, Result, resolve};

impl Cloud {
    /// Changes an instance that is stopped.
    pub fn modify_instance(&self, request: &ModifyInstance) -> Result<Reply<ModifiedInstance>> {
        self.refresh()?;
        let kind = InstanceType::find(&request.instance_type)?;
        let id = self.catalog.write(|tx| {
            let id = resolve::instance(self, tx, &request.instance)?;
            let row = instances::get(tx, &id)?;
            if row.state != InstanceState::Stopped {
                return Err(Error::new(
                    Code::IncorrectInstanceState,
                    format!("instance {id} is {}; this needs it to be stopped", row.state),
                ));
            }
            kind.check_pages(row.huge_pages)?;
            instances::retype(tx, &id, kind)?;
            Ok(id)
        })?;
        Ok(Reply::new(ModifiedInstance {
            r#return: true,
            instance_id: id.to_string(),
        }))
    }
}
