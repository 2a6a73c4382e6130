//! One declaration per setting: its field is its name, its type how its number is read.
//!
//! A setting travels as the number that `Settings.values` of `parameters.py` gives, in the order of
//! the declarations there. Tests hold the names, kinds and choices of both sides against each other.

use crate::error::{EngineError, EngineResult};

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What `parameters.py` calls it.
    const KIND: &'static str;
    /// The names of a choice in the order of their numbers; empty for what is no choice.
    const CHOICES: &'static [&'static str] = &[];

    /// Return the value that a number stands for.
    ///
    /// # Errors
    /// If it stands for none.
    fn from_number(name: &'static str, number: f64) -> EngineResult<Self>;
}

impl Setting for f64 {
    const KIND: &'static str = "float";

    fn from_number(name: &'static str, number: f64) -> EngineResult<Self> {
        if number.is_finite() {
            return Ok(number);
        }
        Err(EngineError::Value { name, value: number, allowed: "a finite number" })
    }
}

impl Setting for usize {
    const KIND: &'static str = "int";

    fn from_number(name: &'static str, number: f64) -> EngineResult<Self> {
        if number >= 0.0 && number.fract() == 0.0 {
            return Ok(number as usize); // no bars are as many as what is beyond 2^53
        }
        Err(EngineError::Value { name, value: number, allowed: "a whole number, 0 or more" })
    }
}

impl Setting for bool {
    const KIND: &'static str = "bool";

    fn from_number(name: &'static str, number: f64) -> EngineResult<Self> {
        if number == 0.0 || number == 1.0 {
            return Ok(number == 1.0);
        }
        Err(EngineError::Value { name, value: number, allowed: "0 or 1" })
    }
}

/// A minute of the day, -1 where it is off.
impl Setting for i32 {
    const KIND: &'static str = "clock";

    fn from_number(name: &'static str, number: f64) -> EngineResult<Self> {
        if (-1.0..1440.0).contains(&number) && number.fract() == 0.0 {
            return Ok(number as i32);
        }
        Err(EngineError::Value { name, value: number, allowed: "a minute of the day, or -1" })
    }
}

/// One field of a group of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What `parameters.py` calls its type.
    pub kind: &'static str,
    /// The names of a choice in the order of their numbers.
    pub choices: &'static [&'static str],
}

/// A group of settings that is made of numbers.
pub trait Schema: Sized {
    /// Its fields in the order of their numbers.
    const FIELDS: &'static [Field];

    /// Return the settings that numbers stand for, one for each field.
    ///
    /// # Errors
    /// If there are more or fewer, or one stands for nothing.
    fn from_values(values: &[f64]) -> EngineResult<Self>;
}

/// Declare a struct of settings; it implements [`Schema`].
macro_rules! settings {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $crate::schema::Schema for $name {
            const FIELDS: &'static [$crate::schema::Field] = &[$($crate::schema::Field {
                name: stringify!($field),
                kind: <$kind as $crate::schema::Setting>::KIND,
                choices: <$kind as $crate::schema::Setting>::CHOICES,
            }),*];

            fn from_values(values: &[f64]) -> $crate::error::EngineResult<Self> {
                let &[$($field),*] = values else {
                    return Err($crate::error::EngineError::Fields {
                        name: stringify!($name),
                        expected: Self::FIELDS.len(),
                        found: values.len(),
                    });
                };
                Ok(Self {
                    $($field: $crate::schema::Setting::from_number(stringify!($field), $field)?,)*
                })
            }
        }
    };
}

/// Declare an enum whose variants have the names, and the order, of an enum in Python.
macro_rules! choices {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// Their names in Python.
            pub const NAMES: &'static [&'static str] = &[$($text),*];
        }

        impl $crate::schema::Setting for $name {
            const KIND: &'static str = "choice";
            const CHOICES: &'static [&'static str] = Self::NAMES;

            fn from_number(name: &'static str, number: f64) -> $crate::error::EngineResult<Self> {
                let found = Self::ALL.iter().find(|each| f64::from(**each as u8) == number);
                found.copied().ok_or($crate::error::EngineError::Code { name, code: number as i64 })
            }
        }
    };
}

pub(crate) use {choices, settings};

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// Two ways.
        pub enum Way {
            /// This one.
            Here = "here",
            /// That one.
            There = "there",
        }
    }

    settings! {
        /// One field of every type.
        pub struct Example {
            /// A number.
            size: f64,
            /// A count.
            bars: usize,
            /// A truth value.
            on: bool,
            /// A time of day.
            close: i32,
            /// A choice.
            way: Way,
        }
    }

    #[test]
    fn fields_are_described_as_declared() {
        let found: Vec<_> = Example::FIELDS.iter().map(|field| (field.name, field.kind)).collect();
        let kinds = ["float", "int", "bool", "clock", "choice"];
        assert_eq!(
            found,
            ["size", "bars", "on", "close", "way"].into_iter().zip(kinds).collect::<Vec<_>>()
        );
        assert_eq!(Example::FIELDS[4].choices, ["here", "there"]);
    }

    #[test]
    fn numbers_become_fields() -> EngineResult<()> {
        let example = Example::from_values(&[2.5, 3.0, 1.0, -1.0, 1.0])?;
        assert_eq!((example.size, example.bars, example.on), (2.5, 3, true));
        assert_eq!((example.close, example.way), (-1, Way::There));
        Ok(())
    }

    #[test]
    fn numbers_that_stand_for_nothing_are_refused() {
        let good = [2.5, 3.0, 1.0, -1.0, 1.0];
        for (place, wrong) in [
            (0, f64::NAN),
            (0, f64::INFINITY),
            (1, -1.0),
            (1, 0.5),
            (1, f64::NAN),
            (2, 2.0),
            (3, -2.0),
            (3, 1440.0),
            (4, 2.0),
            (4, -1.0),
            (4, 0.5),
        ] {
            let mut values = good;
            values[place] = wrong;
            assert!(Example::from_values(&values).is_err(), "{place} = {wrong}");
        }
        let few = EngineError::Fields { name: "Example", expected: 5, found: 4 };
        assert_eq!(Example::from_values(&good[..4]).err(), Some(few));
    }
}
