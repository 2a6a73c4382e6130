//! Vectors of x86-64. Part of `simd`, and with it the only `unsafe` of the project.
//!
//! SAFETY, for every block here: these types are private to `simd/mod.rs` and used by tasks that
//! `Level::run` hands to a function with the instructions enabled, after testing that the machine
//! has them; loads and stores go through references to arrays of exactly the vector's size.
#![allow(unsafe_code, clippy::wildcard_imports)]

use std::arch::x86_64::*;

use super::{LANES, Vector};

/// One 512-bit vector.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512d);

impl Vector for Avx512 {
    type Mask = __mmask8;
    type Words = __m512i;

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self(unsafe { _mm512_set1_pd(x) })
    }

    #[inline(always)]
    fn load(x: &[f64; LANES]) -> Self {
        Self(unsafe { _mm512_loadu_pd(x.as_ptr()) })
    }

    #[inline(always)]
    fn load_f32(x: &[f32; LANES]) -> Self {
        Self(unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(x.as_ptr())) })
    }

    #[inline(always)]
    fn load_u16(x: &[u16; LANES]) -> Self {
        Self(unsafe {
            _mm512_cvtepi32_pd(_mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast())))
        })
    }

    #[inline(always)]
    fn store(self, out: &mut [f64; LANES]) {
        unsafe { _mm512_storeu_pd(out.as_mut_ptr(), self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_pd(self.0, other.0) })
    }

    // The instruction takes its second operand where the two cannot be compared or are equal.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn gt(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_pd_mask::<_CMP_GT_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_pd_mask::<_CMP_LE_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_pd(mask, b.0, a.0) })
    }

    #[inline(always)]
    fn keep(self, mask: Self::Mask) -> Self {
        Self(unsafe { _mm512_maskz_mov_pd(mask, self.0) })
    }

    #[inline(always)]
    fn none() -> Self::Mask {
        0
    }

    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & b
    }

    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a | b
    }

    #[inline(always)]
    fn and_not(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & !b
    }

    #[inline(always)]
    fn any_lane(mask: Self::Mask) -> bool {
        mask != 0
    }

    #[inline(always)]
    fn no_words() -> Self::Words {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn count(words: Self::Words, shifts: &[u8; LANES], less: u8, mask: Self::Mask) -> Self::Words {
        unsafe {
            let shifts = _mm_loadl_epi64(shifts.as_ptr().cast());
            let shifts = _mm_sub_epi8(shifts, _mm_set1_epi8(less.cast_signed()));
            let ones = _mm512_sllv_epi64(_mm512_set1_epi64(1), _mm512_cvtepu8_epi64(shifts));
            _mm512_mask_add_epi64(words, mask, words, ones)
        }
    }

    #[inline(always)]
    fn count_all(words: Self::Words, amount: u64, mask: Self::Mask) -> Self::Words {
        unsafe {
            _mm512_mask_add_epi64(words, mask, words, _mm512_set1_epi64(amount.cast_signed()))
        }
    }

    #[inline(always)]
    fn words_to_array(words: Self::Words) -> [u64; LANES] {
        let mut out = [0; LANES];
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) };
        out
    }
}

/// Two 256-bit vectors.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256d, __m256d);

macro_rules! both {
    ($name:ident, $instruction:ident) => {
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            unsafe { Self($instruction(self.0, other.0), $instruction(self.1, other.1)) }
        }
    };
}

impl Vector for Avx2 {
    type Mask = (__m256d, __m256d);
    type Words = (__m256i, __m256i);

    #[inline(always)]
    fn splat(x: f64) -> Self {
        unsafe { Self(_mm256_set1_pd(x), _mm256_set1_pd(x)) }
    }

    #[inline(always)]
    fn load(x: &[f64; LANES]) -> Self {
        unsafe { Self(_mm256_loadu_pd(x.as_ptr()), _mm256_loadu_pd(x.as_ptr().add(4))) }
    }

    #[inline(always)]
    fn load_f32(x: &[f32; LANES]) -> Self {
        unsafe {
            Self(
                _mm256_cvtps_pd(_mm_loadu_ps(x.as_ptr())),
                _mm256_cvtps_pd(_mm_loadu_ps(x.as_ptr().add(4))),
            )
        }
    }

    #[inline(always)]
    fn load_u16(x: &[u16; LANES]) -> Self {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            Self(
                _mm256_cvtepi32_pd(_mm256_castsi256_si128(wide)),
                _mm256_cvtepi32_pd(_mm256_extracti128_si256::<1>(wide)),
            )
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f64; LANES]) {
        unsafe {
            _mm256_storeu_pd(out.as_mut_ptr(), self.0);
            _mm256_storeu_pd(out.as_mut_ptr().add(4), self.1);
        }
    }

    both!(add, _mm256_add_pd);
    both!(sub, _mm256_sub_pd);
    both!(mul, _mm256_mul_pd);
    both!(div, _mm256_div_pd);
    both!(larger, _mm256_max_pd);
    both!(smaller, _mm256_min_pd);

    #[inline(always)]
    fn gt(self, other: Self) -> Self::Mask {
        unsafe {
            (
                _mm256_cmp_pd::<_CMP_GT_OQ>(self.0, other.0),
                _mm256_cmp_pd::<_CMP_GT_OQ>(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        unsafe {
            (
                _mm256_cmp_pd::<_CMP_LE_OQ>(self.0, other.0),
                _mm256_cmp_pd::<_CMP_LE_OQ>(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        unsafe { Self(_mm256_blendv_pd(b.0, a.0, mask.0), _mm256_blendv_pd(b.1, a.1, mask.1)) }
    }

    #[inline(always)]
    fn keep(self, mask: Self::Mask) -> Self {
        unsafe { Self(_mm256_and_pd(mask.0, self.0), _mm256_and_pd(mask.1, self.1)) }
    }

    #[inline(always)]
    fn none() -> Self::Mask {
        unsafe { (_mm256_setzero_pd(), _mm256_setzero_pd()) }
    }

    #[inline(always)]
    fn and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { (_mm256_and_pd(a.0, b.0), _mm256_and_pd(a.1, b.1)) }
    }

    #[inline(always)]
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { (_mm256_or_pd(a.0, b.0), _mm256_or_pd(a.1, b.1)) }
    }

    #[inline(always)]
    fn and_not(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        unsafe { (_mm256_andnot_pd(b.0, a.0), _mm256_andnot_pd(b.1, a.1)) }
    }

    #[inline(always)]
    fn any_lane(mask: Self::Mask) -> bool {
        unsafe { (_mm256_movemask_pd(mask.0) | _mm256_movemask_pd(mask.1)) != 0 }
    }

    #[inline(always)]
    fn no_words() -> Self::Words {
        unsafe { (_mm256_setzero_si256(), _mm256_setzero_si256()) }
    }

    #[inline(always)]
    fn count(words: Self::Words, shifts: &[u8; LANES], less: u8, mask: Self::Mask) -> Self::Words {
        unsafe {
            let shifts = _mm_loadl_epi64(shifts.as_ptr().cast());
            let shifts = _mm_sub_epi8(shifts, _mm_set1_epi8(less.cast_signed()));
            let one = _mm256_set1_epi64x(1);
            let low = _mm256_sllv_epi64(one, _mm256_cvtepu8_epi64(shifts));
            let high = _mm256_sllv_epi64(one, _mm256_cvtepu8_epi64(_mm_srli_si128::<4>(shifts)));
            (
                _mm256_add_epi64(words.0, _mm256_and_si256(low, _mm256_castpd_si256(mask.0))),
                _mm256_add_epi64(words.1, _mm256_and_si256(high, _mm256_castpd_si256(mask.1))),
            )
        }
    }

    #[inline(always)]
    fn count_all(words: Self::Words, amount: u64, mask: Self::Mask) -> Self::Words {
        unsafe {
            let amount = _mm256_set1_epi64x(amount.cast_signed());
            (
                _mm256_add_epi64(words.0, _mm256_and_si256(amount, _mm256_castpd_si256(mask.0))),
                _mm256_add_epi64(words.1, _mm256_and_si256(amount, _mm256_castpd_si256(mask.1))),
            )
        }
    }

    #[inline(always)]
    fn words_to_array(words: Self::Words) -> [u64; LANES] {
        let mut out = [0; LANES];
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), words.0);
            _mm256_storeu_si256(out.as_mut_ptr().add(4).cast(), words.1);
        }
        out
    }
}
