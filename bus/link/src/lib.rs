//! The bus between processes.

mod floor;
