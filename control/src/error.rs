//! What can go wrong, in EC2's vocabulary.
//!
//! Every error that leaves this crate carries one of EC2's error codes (Amazon EC2 API Reference, "Error
//! codes"), so that a program that knows EC2 knows what happened, and a message for people that says what,
//! which, and the way out where there is one.

use std::fmt;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// EC2's error codes, as far as Kiln answers with them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// The code as EC2 spells it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];
        }
    };
}

codes! {
    /// An instance has as many volumes as fit.
    AttachmentLimitExceeded = "AttachmentLimitExceeded";
    /// The account named does not exist.
    AuthFailure = "AuthFailure";
    /// The host has not enough memory left.
    InsufficientInstanceCapacity = "InsufficientInstanceCapacity";
    /// A client token was used before with other parameters.
    IdempotentParameterMismatch = "IdempotentParameterMismatch";
    /// Two parameters exclude each other.
    InvalidParameterCombination = "InvalidParameterCombination";
    /// A parameter's value is not allowed.
    InvalidParameterValue = "InvalidParameterValue";
    /// The instance is in a state that does not allow this.
    IncorrectInstanceState = "IncorrectInstanceState";
    /// A volume or snapshot is in a state that does not allow this.
    IncorrectState = "IncorrectState";
    /// An image of this name exists.
    InvalidAmiNameDuplicate = "InvalidAMIName.Duplicate";
    /// The name breaks the rules for image names.
    InvalidAmiNameMalformed = "InvalidAMIName.Malformed";
    /// No such image.
    InvalidAmiIdNotFound = "InvalidAMIID.NotFound";
    /// The image was deregistered, or is not available yet.
    InvalidAmiIdUnavailable = "InvalidAMIID.Unavailable";
    /// What was given is no image id.
    InvalidAmiIdMalformed = "InvalidAMIID.Malformed";
    /// A block device mapping that cannot be.
    InvalidBlockDeviceMapping = "InvalidBlockDeviceMapping";
    /// A filter that does not exist.
    InvalidFilter = "InvalidFilter";
    /// No such instance.
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound";
    /// What was given is no instance id.
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed";
    /// No such instance type.
    InvalidInstanceType = "InvalidInstanceType";
    /// A public key that cannot be taken.
    InvalidKeyFormat = "InvalidKey.Format";
    /// A key pair of this name exists.
    InvalidKeyPairDuplicate = "InvalidKeyPair.Duplicate";
    /// No such key pair.
    InvalidKeyPairNotFound = "InvalidKeyPair.NotFound";
    /// The account has no such reservation or resource.
    InvalidId = "InvalidID";
    /// A snapshot that an image names.
    InvalidSnapshotInUse = "InvalidSnapshot.InUse";
    /// No such snapshot.
    InvalidSnapshotNotFound = "InvalidSnapshot.NotFound";
    /// What was given is no snapshot id.
    InvalidSnapshotIdMalformed = "InvalidSnapshotID.Malformed";
    /// No such volume.
    InvalidVolumeNotFound = "InvalidVolume.NotFound";
    /// What was given is no volume id.
    InvalidVolumeIdMalformed = "InvalidVolumeID.Malformed";
    /// What an instance that runs cannot be without.
    OperationNotPermitted = "OperationNotPermitted";
    /// A volume that an instance has.
    VolumeInUse = "VolumeInUse";
    /// The name of a region is malformed.
    InvalidRegion = "InvalidRegion";
    /// A disk file that cannot be taken as an image.
    InvalidDisk = "InvalidDisk";
    /// A disk whose guest could not be found or started.
    InvalidKernel = "InvalidKernel";
    /// The guest did not answer in time.
    GuestTimeout = "GuestTimeout";
    /// The store's file system is full.
    InsufficientVolumeCapacity = "InsufficientVolumeCapacity";
    /// A tag that breaks the rules.
    InvalidTag = "InvalidTagKey.Malformed";
    /// More tags than a thing may carry.
    TagLimitExceeded = "TagLimitExceeded";
    /// What this host cannot do.
    Unsupported = "Unsupported";
    /// The store cannot be used as it is.
    Unavailable = "Unavailable";
    /// Something went wrong that the caller did not cause.
    InternalError = "InternalError";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An EC2 error code, a message for people, and what caused it.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with nothing behind it.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            source: None,
        }
    }

    /// An error of the host or of Kiln itself: what was being done, and what came in the way.
    pub fn internal(
        doing: impl fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::caused(Code::InternalError, doing, source)
    }

    /// An error with a code and a cause.
    pub fn caused(
        code: Code,
        doing: impl fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let source = source.into();
        let code = if is_full_disk(source.as_ref()) {
            Code::InsufficientVolumeCapacity
        } else {
            code
        };
        Error {
            code,
            message: doing.to_string(),
            source: Some(source),
        }
    }

    /// The same error of work that can neither be finished nor undone now.
    pub(crate) fn not_put_right(self) -> Error {
        Error {
            code: self.code,
            message: "cut short, and to be finished or undone by the next command".to_owned(),
            source: Some(Box::new(self)),
        }
    }

    /// EC2's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, with every cause, as one line.
    pub fn message(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text.replace('\n', " ")
    }
}

/// Whether a chain of causes ends in "no space left on device", however deep.
fn is_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            );
        }
        if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref::<rusqlite::Error>() {
            return failure.code == rusqlite::ErrorCode::DiskFull;
        }
        cause = error.source();
    }
    false
}

impl fmt::Display for Error {
    /// The whole story without the code, which the command line sets in brackets of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn std::error::Error + 'static))
    }
}

const CATALOGUE: &str = "the catalogue";

/// The disk of the software machine is a file on the host's: a host without room is an error of that disk to it.
const CATALOGUE_UNREADABLE: &str = "the catalogue's disk failed (in the software machine: if the host's disk is full, \
                                    make room there, then `kiln machine stop`, and repeat this)";

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let (code, doing) = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => (Code::Unavailable, CATALOGUE),
            Some(rusqlite::ErrorCode::SystemIoFailure) => (Code::InternalError, CATALOGUE_UNREADABLE),
            _ => (Code::InternalError, CATALOGUE),
        };
        Error::caused(code, doing, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_its_causes_on_one_line() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such\nfile");
        let error = Error::internal("open the store", io);
        assert_eq!(error.to_string(), "open the store: no such file");
        assert_eq!(error.code().as_str(), "InternalError");
    }

    #[test]
    fn a_disk_that_fails_under_the_catalogue_comes_with_what_to_do() {
        const IOERR_FSYNC: i32 = 1034;
        let failure = rusqlite::ffi::Error::new(IOERR_FSYNC);
        let error = Error::from(rusqlite::Error::SqliteFailure(failure, None));
        assert_eq!(error.code(), Code::InternalError);
        assert!(error.to_string().contains("`kiln machine stop`"), "{error}");
    }

    #[test]
    fn a_full_disk_is_named_as_such_however_deep() {
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::internal("create the overlay", Error::internal("write", io));
        assert_eq!(error.code(), Code::InsufficientVolumeCapacity);
    }
}
