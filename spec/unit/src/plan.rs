//! [`ExecPlan`]: all that a child will be, as plain data, plus slots for file descriptors it is handed.

use serde::{Deserialize, Serialize};

/// Placeholder: the owner of this room gives it its fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecPlan {}
