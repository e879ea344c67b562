//! Locks and atomics of what threads share: those of the product, or under `cfg(loom)` those of a model checker, which
//! plays every order of their accesses (see `tests/models`).
//!
//! Only what decides something is taken from here. Counters that are shown and nothing else stay with `std`.

#[cfg(not(loom))]
pub use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

#[cfg(loom)]
pub use checked::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, RwLock};
#[cfg(loom)]
pub use loom::sync::MutexGuard;

#[cfg(loom)]
mod checked {
    #![allow(missing_docs)]

    use loom::sync::{self, MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};
    use std::sync::atomic::Ordering::{self, Acquire, Release, SeqCst};

    /// Locks without poison, as those of the product.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        #[track_caller]
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model ends with its first panic")
        }
    }

    #[derive(Debug, Default)]
    pub struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        #[track_caller]
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a model ends with its first panic")
        }

        #[track_caller]
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a model ends with its first panic")
        }
    }

    /// An atomic whose sequentially consistent accesses are just that: loom takes them for acquire and release alone. As
    /// exchanges they meet in one order, and acquire and release no more than they do by themselves.
    macro_rules! atomic {
        ($name:ident, $value:ty, $zero:expr, [$($change:ident),*]) => {
            #[derive(Debug, Default)]
            pub struct $name(atomic::$name);

            impl $name {
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    if order != SeqCst {
                        return self.0.load(order);
                    }
                    self.0.compare_exchange($zero, $zero, Acquire, Acquire).unwrap_or_else(|value| value)
                }

                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    if order != SeqCst {
                        return self.0.store(value, order);
                    }
                    self.0.swap(value, Release);
                }

                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    from: $value,
                    to: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(from, to, success, failure)
                }

                #[track_caller]
                pub fn fetch_update(
                    &self,
                    success: Ordering,
                    failure: Ordering,
                    change: impl Fn($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut found = self.load(failure);
                    while let Some(to) = change(found) {
                        match self.compare_exchange(found, to, success, failure) {
                            Ok(from) => return Ok(from),
                            Err(other) => found = other,
                        }
                    }
                    Err(found)
                }

                $(
                    #[track_caller]
                    pub fn $change(&self, value: $value, order: Ordering) -> $value {
                        self.0.$change(value, order)
                    }
                )*
            }

            impl From<$value> for $name {
                fn from(value: $value) -> Self {
                    Self::new(value)
                }
            }
        };
    }

    atomic!(AtomicBool, bool, false, [swap]);
    atomic!(AtomicU8, u8, 0, [swap]);
    atomic!(AtomicU32, u32, 0, [swap, fetch_add]);
    atomic!(AtomicU64, u64, 0, [fetch_add, fetch_sub, fetch_max]);
    atomic!(AtomicUsize, usize, 0, [fetch_add, fetch_sub, fetch_max]);
}
