//! Values that are known before anything runs: of globals, and of offsets.

use anyhow::{Context, Result, bail};
use wasm_encoder::{ConstExpr, Ieee32, Ieee64, Instruction};
use wasmparser::Operator;

#[derive(Clone, Copy)]
pub enum Constant {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

impl Constant {
    /// What a constant expression is, where the globals that it names have these values.
    pub fn of(expression: &wasmparser::ConstExpr<'_>, global: impl Fn(u32) -> Option<Self>) -> Result<Self> {
        let mut stack = Vec::new();
        for operator in expression.get_operators_reader() {
            match operator? {
                Operator::I32Const { value } => stack.push(Constant::I32(value)),
                Operator::I64Const { value } => stack.push(Constant::I64(value)),
                Operator::F32Const { value } => stack.push(Constant::F32(value.bits())),
                Operator::F64Const { value } => stack.push(Constant::F64(value.bits())),
                Operator::GlobalGet { global_index } => {
                    stack.push(global(global_index).context("a global is missing")?)
                }
                Operator::I32Add => match (stack.pop(), stack.pop()) {
                    (Some(Constant::I32(right)), Some(Constant::I32(left))) => {
                        stack.push(Constant::I32(left.wrapping_add(right)));
                    }
                    _ => bail!("a constant adds what is no number"),
                },
                Operator::End => {}
                other => bail!("a constant is computed by {other:?}"),
            }
        }
        match stack[..] {
            [value] => Ok(value),
            _ => bail!("a constant is no single value"),
        }
    }

    /// The same, for an offset.
    pub fn offset(expression: &wasmparser::ConstExpr<'_>, global: impl Fn(u32) -> Option<Self>) -> Result<i32> {
        match Self::of(expression, global)? {
            Self::I32(offset) => Ok(offset),
            _ => bail!("an offset is no small number"),
        }
    }

    pub fn instruction(self) -> Instruction<'static> {
        match self {
            Self::I32(value) => Instruction::I32Const(value),
            Self::I64(value) => Instruction::I64Const(value),
            Self::F32(bits) => Instruction::F32Const(Ieee32::new(bits)),
            Self::F64(bits) => Instruction::F64Const(Ieee64::new(bits)),
        }
    }

    pub fn expression(self) -> ConstExpr {
        match self {
            Self::I32(value) => ConstExpr::i32_const(value),
            Self::I64(value) => ConstExpr::i64_const(value),
            Self::F32(bits) => ConstExpr::f32_const(Ieee32::new(bits)),
            Self::F64(bits) => ConstExpr::f64_const(Ieee64::new(bits)),
        }
    }
}
