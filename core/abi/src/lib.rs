//! The binary interface between ratebus and plugins in shared libraries: `include/ratebus_plugin.h`, in Rust.
//!
//! The header has the rules and says what each field means; a test compares every size and offset of the two. Nothing
//! here is called by people: the engine loads libraries, and `ratebus_sdk::export!` makes one of a Rust plugin.

use std::{ffi::c_void, slice, str::Utf8Error};

/// `"RATEBUS1"`, on a little-endian machine.
pub const MAGIC: u64 = 0x3153_5542_4554_4152;
/// Majors must match.
pub const MAJOR: u16 = 1;
/// A higher minor has more at the end of its structs.
pub const MINOR: u16 = 0;
/// The symbol that a library exports: a [`Plugin`].
pub const SYMBOL: &str = "ratebus_plugin_v1";

/// What a call came to.
pub mod status {
    /// Done.
    pub const OK: i32 = 0;
    /// No room for all of it.
    pub const FULL: i32 = 1;
    /// The instance has ended.
    pub const CLOSED: i32 = 2;
    /// Not what is expected here.
    pub const INVALID: i32 = 3;
    /// Could not be done.
    pub const FAILED: i32 = 4;
    /// A fault in the code that was called.
    pub const PANICKED: i32 = 5;
}

/// What a component does.
pub mod component {
    /// Brings rates in.
    pub const SOURCE: u32 = 1;
    /// Takes messages off the bus.
    pub const SINK: u32 = 2;
}

/// What an event says.
pub mod event {
    /// What one frame said of a pair.
    pub const TICK: u32 = 1;
    /// A rate that the plugin has judged itself.
    pub const RATE: u32 = 2;
    /// The feed is alive.
    pub const HEARTBEAT: u32 = 3;
    /// How the subscription of a pair stands.
    pub const PAIR: u32 = 4;
    /// Whether the exchange matches orders.
    pub const MARKET: u32 = 5;
    /// The connection is gone.
    pub const DISCONNECTED: u32 = 6;
    /// Every pair was told of.
    pub const ALL_PAIRS: u32 = 7;
}

/// How the subscription of a pair stands.
pub mod pair {
    /// Asked for.
    pub const PENDING: u32 = 0;
    /// Acknowledged.
    pub const SUBSCRIBED: u32 = 1;
    /// Refused for good.
    pub const REFUSED: u32 = 2;
}

/// Whether an exchange matches orders.
pub mod market {
    /// It does.
    pub const ONLINE: u32 = 0;
    /// Cancel only, post only.
    pub const NOT_MATCHING: u32 = 1;
    /// Down.
    pub const MAINTENANCE: u32 = 2;
    /// Nobody knows.
    pub const UNKNOWN: u32 = 3;
}

/// How a component is.
pub mod health {
    /// Not yet able to do its work.
    pub const STARTING: u32 = 0;
    /// Doing its work.
    pub const READY: u32 = 1;
    /// In part.
    pub const DEGRADED: u32 = 2;
    /// Unable to.
    pub const NOT_READY: u32 = 3;
}

/// How important a line of the log is.
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is not as it should be.
    pub const WARN: u32 = 2;
    /// Something happened.
    pub const INFO: u32 = 3;
    /// For developers.
    pub const DEBUG: u32 = 4;
}

/// How an instance ended.
pub mod end {
    /// Done for good, or stopped because it was asked to.
    pub const FINISHED: u32 = 0;
    /// The config cannot work.
    pub const CONFIG: u32 = 1;
    /// No connection, or it was lost.
    pub const CONNECT: u32 = 2;
    /// The other side broke its protocol.
    pub const PROTOCOL: u32 = 3;
    /// Credentials or certificates were refused.
    pub const AUTH: u32 = 4;
    /// The other side asks to slow down.
    pub const RATE_LIMITED: u32 = 5;
    /// Connected, and silent.
    pub const STALLED: u32 = 6;
    /// A fault of the plugin.
    pub const INTERNAL: u32 = 7;
}

/// Flags of a rate.
pub mod flag {
    /// One price without sides.
    pub const REFERENCE: u32 = 1;
    /// A full picture.
    pub const SNAPSHOT: u32 = 2;
}

/// A text: UTF-8, not terminated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Its first byte.
    pub at: *const u8,
    /// How many bytes.
    pub length: usize,
}

impl Text {
    /// No text.
    pub const EMPTY: Self = Self::new("");

    /// `text`, which must live for as long as this is read.
    pub const fn new(text: &str) -> Self {
        Self { at: text.as_ptr(), length: text.len() }
    }

    /// The text.
    ///
    /// # Errors
    /// It is no UTF-8.
    ///
    /// # Safety
    /// Unless the length is 0, so many bytes can be read at the pointer, and nobody writes them during `'t`.
    #[expect(unsafe_code, reason = "the length is the other side's word")]
    pub unsafe fn read<'t>(self) -> Result<&'t str, Utf8Error> {
        if self.length == 0 || self.at.is_null() {
            return Ok("");
        }
        // SAFETY: the caller's promise.
        str::from_utf8(unsafe { slice::from_raw_parts(self.at, self.length) })
    }
}

/// Room for a text, lent by the caller.
#[repr(C)]
#[derive(Debug)]
pub struct Buffer {
    /// Its first byte.
    pub at: *mut u8,
    /// How many bytes there are.
    pub room: usize,
    /// How many of them are written.
    pub length: usize,
}

impl Buffer {
    /// `room`, lent for as long as this is used.
    pub fn new(room: &mut [u8]) -> Self {
        Self { at: room.as_mut_ptr(), room: room.len(), length: 0 }
    }

    /// Writes as many whole characters of `text` as there is room for.
    ///
    /// # Safety
    /// `room` bytes can be written at the pointer.
    #[expect(unsafe_code, reason = "the room is the other side's word")]
    pub unsafe fn write(&mut self, text: &str) {
        let length = text.floor_char_boundary(self.room);
        self.length = length;
        if length > 0 && !self.at.is_null() {
            // SAFETY: `length <= room`, which the caller promises can be written; a text of ours does not overlap it.
            unsafe { self.at.copy_from_nonoverlapping(text.as_ptr(), length) };
        }
    }
}

/// A price: `mantissa / 10^scale`; a mantissa of zero is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decimal {
    /// The lower 64 bits.
    pub mantissa: u64,
    /// The bits above them.
    pub mantissa_high: u32,
    /// Digits after the point.
    pub scale: u32,
}

/// What is said of one pair.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// `size_of::<Rate>()`.
    pub size: u32,
    /// Of [`flag`].
    pub flags: u32,
    /// To a sink: who says so.
    pub source: Text,
    /// `BTC_USD`.
    pub pair: Text,
    /// What a seller gets; or the one price.
    pub bid: Decimal,
    /// What a buyer pays.
    pub ask: Decimal,
    /// The exchange's own time, microseconds since 1970; 0: none.
    pub event_micros: i64,
    /// To a sink: when it arrived.
    pub received_micros: i64,
    /// Of a rate: how long ago the feed vouched for it.
    pub age_micros: u64,
    /// To a sink: grows with each change.
    pub sequence: u64,
    /// To a sink: the source's run.
    pub epoch: u64,
    /// When it is stale; 0: after 10 s.
    pub stale_after_ms: u32,
    /// When it is dead; 0: after 60 s.
    pub dead_after_ms: u32,
    /// Of [`market`].
    pub market: u32,
    /// 0.
    pub reserved: u32,
}

/// What a source says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// `size_of::<Event>()`.
    pub size: u32,
    /// Of [`event`].
    pub kind: u32,
    /// Of a tick or a rate.
    pub rate: *const Rate,
    /// Whose subscription.
    pub pair: Text,
    /// Why it was refused.
    pub reason: Text,
    /// Of [`pair`] or [`market`].
    pub state: u32,
    /// 0.
    pub reserved: u32,
}

/// What a sink hears.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// `size_of::<Message>()`.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Where it was published.
    pub subject: Text,
    /// What it says, if that is a rate.
    pub rate: *const Rate,
    /// What it says otherwise.
    pub json: Text,
    /// The publisher's run.
    pub epoch: u64,
    /// Grows within it.
    pub sequence: u64,
    /// When it was published, microseconds since 1970.
    pub published_micros: i64,
}

/// What an instance is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// `size_of::<Setup>()`.
    pub size: u32,
    /// Set to 1 by `create`, if the instance is to be made anew when the tables of pairs change.
    pub keeps_pairs: u32,
    /// The plugin's name in the config.
    pub name: Text,
    /// Its `config`, a JSON object.
    pub config: Text,
    /// The `[pairs.*]` tables, a JSON object.
    pub pairs: Text,
}

/// What ratebus does for a plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// `size_of::<Host>()`.
    pub size: u32,
    /// [`MINOR`] of the host.
    pub minor: u32,
    /// Takes events.
    pub publish: unsafe extern "C" fn(context: u64, events: *const Event, count: usize, accepted: *mut usize) -> i32,
    /// How the instance is.
    pub health: unsafe extern "C" fn(context: u64, state: u32, reason: Text) -> i32,
    /// A line of the log.
    pub log: unsafe extern "C" fn(context: u64, level: u32, line: Text) -> i32,
    /// Microseconds since 1970.
    pub now: extern "C" fn(context: u64) -> i64,
    /// The instance has ended.
    pub stopped: unsafe extern "C" fn(context: u64, how: u32, why: Text, after_ms: u32) -> i32,
    /// Adds to a counter of the plugin.
    pub count: unsafe extern "C" fn(context: u64, name: Text, number: u64) -> i32,
    /// Sets a gauge of the plugin.
    pub gauge: unsafe extern "C" fn(context: u64, name: Text, value: i64) -> i32,
}

/// [`Component::create`].
pub type Create = unsafe extern "C" fn(setup: *mut Setup, error: *mut Buffer, instance: *mut *mut c_void) -> i32;
/// [`Component::start`].
pub type Start =
    unsafe extern "C" fn(instance: *mut c_void, host: *const Host, context: u64, error: *mut Buffer) -> i32;
/// [`Component::on_writable`], [`Component::stop`], [`Component::destroy`].
pub type Tell = unsafe extern "C" fn(instance: *mut c_void);
/// [`Component::interests`].
pub type Interests = unsafe extern "C" fn(instance: *mut c_void, patterns: *mut Buffer) -> i32;
/// [`Component::deliver`].
pub type Deliver =
    unsafe extern "C" fn(instance: *mut c_void, messages: *const Message, count: usize, accepted: *mut usize) -> i32;

/// A type of component. What must be there is an [`Option`] too: it is the other side's word.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// `size_of::<Component>()`.
    pub size: u32,
    /// Of [`component`].
    pub kind: u32,
    /// `source/acme`.
    pub r#type: Text,
    /// Makes an instance.
    pub create: Option<Create>,
    /// Begins to work.
    pub start: Option<Start>,
    /// There is room again.
    pub on_writable: Option<Tell>,
    /// What a sink wants to hear.
    pub interests: Option<Interests>,
    /// Messages to a sink.
    pub deliver: Option<Deliver>,
    /// Asks it to end.
    pub stop: Option<Tell>,
    /// Frees it.
    pub destroy: Option<Tell>,
}

/// The descriptor of a library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`MAJOR`].
    pub major: u16,
    /// [`MINOR`].
    pub minor: u16,
    /// `size_of::<Plugin>()`.
    pub size: u32,
    /// The library's name.
    pub name: Text,
    /// Its version.
    pub version: Text,
    /// What it was built with.
    pub build: Text,
    /// The first of its components.
    pub components: *const Component,
    /// How many there are.
    pub count: u32,
    /// How far apart.
    pub stride: u32,
}

// SAFETY: both describe a library, never change, and point at what never changes.
#[expect(unsafe_code, reason = "statics with pointers")]
unsafe impl Sync for Component {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "statics with pointers")]
unsafe impl Sync for Plugin {}

/// The size of an ABI struct, as its `size` field has it.
#[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
pub const fn size_of<T>() -> u32 {
    std::mem::size_of::<T>() as u32
}
