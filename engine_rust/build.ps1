<#
.SYNOPSIS
    Builds backtest-py on Windows: what `make build` does elsewhere.
.DESCRIPTION
    Needs Python 3.11 or later and the Rust toolchain (cargo) with the MSVC build tools.
    Run it from anywhere:  powershell -ExecutionPolicy Bypass -File engine_rust\build.ps1
.PARAMETER Test
    Also run the Python tests.
#>
param([switch]$Test)

$ErrorActionPreference = "Stop"
$root = Split-Path -Parent $PSScriptRoot
Set-Location $root

function Invoke-Checked([string]$Program, [string[]]$Arguments) {
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { throw "$Program $($Arguments -join ' ') failed with status $LASTEXITCODE" }
}

if (-not (Get-Command cargo -ErrorAction SilentlyContinue)) {
    throw "cargo is not on the PATH; install the Rust toolchain, or install the Numba-only package (see README.md)"
}
$python = Join-Path $root ".venv\Scripts\python.exe"
if (-not (Test-Path $python)) { Invoke-Checked "python" @("-m", "venv", ".venv") }
Invoke-Checked $python @("-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--upgrade", "pip")
Invoke-Checked $python @("-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--group", "test")
Invoke-Checked $python @("-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--editable", ".[plot]")
Invoke-Checked $python @("tools/warm_kernels.py")
Invoke-Checked $python @("-m", "backtest_py", "engines")
if ($Test) { Invoke-Checked $python @("-m", "pytest") }
