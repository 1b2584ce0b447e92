// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// Divides the payment of one signed invoice among its payees, in the transaction that pays it.
///
/// The contract keeps nothing: what a payee cannot receive is credited to that payee and stays until withdrawn; every other
/// unit leaves in the same call. It has no upgrade path and nobody, the owner included, can move a credit.
/// The signer states prices and payees; it never touches funds. The owner pauses, rotates the signer, and returns coins that
/// somebody sent here by mistake. Tokens with hooks, fees or rebasing do not belong on the list of tokens that the signer uses.
contract PPVSplitter is EIP712, Ownable2Step, Pausable, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Payee {
        address to;
        uint256 amount;
    }

    /// token 0 is the chain's native coin; amount is exact and equals the sum of the payees' amounts; only payer can pay;
    /// deadline is compared with the block's time, and a payment at the deadline is in time.
    struct Invoice {
        bytes32 id;
        address token;
        uint256 amount;
        address payer;
        Payee[] payees;
        uint64 deadline;
    }

    bytes32 private constant PAYEE_TYPE = keccak256("Payee(address to,uint256 amount)");
    bytes32 private constant INVOICE_TYPE = keccak256(
        "Invoice(bytes32 id,address token,uint256 amount,address payer,Payee[] payees,uint64 deadline)Payee(address to,uint256 amount)"
    );
    uint256 public constant MAX_PAYEES = 16;
    /// What a payee's code, or a token's, may burn while it is paid. More than a smart wallet or a proxied token needs.
    uint256 public constant NATIVE_GAS = 100_000;
    uint256 public constant TOKEN_GAS = 300_000;

    address public signer;
    mapping(bytes32 id => bool) public used;
    mapping(address token => mapping(address who => uint256)) public credits;
    /// The sum of credits of a token: what the contract owes, and the only balance that it should have.
    mapping(address token => uint256) public owed;

    event Paid(bytes32 indexed id, address indexed payer, address indexed token, uint256 amount, bytes32 invoiceHash);
    event Share(bytes32 indexed id, address indexed to, uint256 amount, bool credited);
    event Withdrawn(address indexed token, address indexed who, address to, uint256 amount);
    event SignerChanged(address indexed from, address indexed to);
    event Rescued(address indexed token, address indexed to, uint256 amount);

    error AlreadyPaid(bytes32 id);
    error Expired(uint64 deadline);
    error WrongPayer(address expected);
    error WrongToken(address token);
    error WrongAmount(uint256 expected, uint256 got);
    error WrongNonce(bytes32 expected);
    error BadPayees();
    error BadSigner();
    error BadSignature();
    error NotEnoughGas();
    error TransferFailed();
    error NothingToSend();

    constructor(address owner_, address signer_) EIP712("PPV Splitter", "1") Ownable(owner_) {
        _setSigner(signer_);
    }

    // ---- paying ----

    function payNative(Invoice calldata invoice, bytes calldata sig) external payable whenNotPaused nonReentrant {
        if (invoice.token != address(0)) revert WrongToken(invoice.token);
        if (msg.sender != invoice.payer) revert WrongPayer(invoice.payer);
        if (msg.value != invoice.amount) revert WrongAmount(invoice.amount, msg.value);
        _claim(invoice, sig);
        _divide(invoice);
    }

    /// The payer has approved at least the amount.
    function payToken(Invoice calldata invoice, bytes calldata sig) external whenNotPaused nonReentrant {
        if (msg.sender != invoice.payer) revert WrongPayer(invoice.payer);
        _claim(invoice, sig);
        _pull(invoice);
    }

    /// Approval (EIP-2612) and payment in one transaction of the payer.
    function payWithPermit(
        Invoice calldata invoice,
        bytes calldata sig,
        uint256 permitDeadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external whenNotPaused nonReentrant {
        if (msg.sender != invoice.payer) revert WrongPayer(invoice.payer);
        _claim(invoice, sig);
        // Anybody can submit a permit that they have seen; then ours fails, and the allowance is there all the same.
        IERC20Permit token = IERC20Permit(address(_token(invoice)));
        try token.permit(msg.sender, address(this), invoice.amount, permitDeadline, v, r, s) {} catch {}
        _pull(invoice);
    }

    /// Payment by EIP-3009 authorization, which anybody may submit and pay the gas for. The nonce must be hashInvoice(invoice):
    /// so the payer's signature covers this invoice, and a third party cannot spend it on another one of the same amount.
    /// authSig: 65 bytes r, s, v of a key; any other length goes to tokens that know contract wallets.
    function payWithAuthorization(
        Invoice calldata invoice,
        bytes calldata sig,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata authSig
    ) external whenNotPaused nonReentrant {
        bytes32 hash = _claim(invoice, sig);
        if (nonce != hash) revert WrongNonce(hash);
        IERC20 token = _token(invoice);
        uint256 before = token.balanceOf(address(this));
        bytes memory head = abi.encode(invoice.payer, address(this), invoice.amount, validAfter, validBefore, nonce);
        _call(address(token), _receiveWithAuthorization(head, authSig));
        _received(invoice, before);
    }

    // ---- credits ----

    function withdraw(address token) external {
        withdrawTo(token, msg.sender);
    }

    /// For payees that cannot receive at their own address. Works while paused: a pause stops sales, not what is owed.
    function withdrawTo(address token, address to) public nonReentrant {
        uint256 amount = credits[token][msg.sender];
        if (amount == 0) revert NothingToSend();
        credits[token][msg.sender] = 0;
        owed[token] -= amount;
        emit Withdrawn(token, msg.sender, to, amount);
        _sendAll(token, to, amount);
    }

    // ---- the owner ----

    function pause() external onlyOwner {
        _pause();
    }

    function unpause() external onlyOwner {
        _unpause();
    }

    /// Invoices of the signer before this one are void at once.
    function setSigner(address to) external onlyOwner {
        _setSigner(to);
    }

    /// Sends what arrived outside an invoice. Credits cannot be reached.
    function rescue(address token, address to) external onlyOwner nonReentrant {
        uint256 amount = _balance(token) - owed[token];
        if (amount == 0) revert NothingToSend();
        emit Rescued(token, to, amount);
        _sendAll(token, to, amount);
    }

    /// Without an owner nobody could replace a stolen signer, so the owner can hand over but not leave.
    function renounceOwnership() public view override onlyOwner {
        revert OwnableInvalidOwner(address(0));
    }

    // ---- reading ----

    /// The EIP-712 digest that the signer signs.
    function hashInvoice(Invoice calldata invoice) public view returns (bytes32) {
        uint256 count = invoice.payees.length;
        bytes32[] memory payees = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) {
            payees[i] = keccak256(abi.encode(PAYEE_TYPE, invoice.payees[i].to, invoice.payees[i].amount));
        }
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    INVOICE_TYPE,
                    invoice.id,
                    invoice.token,
                    invoice.amount,
                    invoice.payer,
                    keccak256(abi.encodePacked(payees)),
                    invoice.deadline
                )
            )
        );
    }

    // ---- inside ----

    function _setSigner(address to) private {
        if (to == address(0)) revert BadSigner();
        emit SignerChanged(signer, to);
        signer = to;
    }

    /// Refuses what is not a valid, unpaid, signed invoice, and takes its id before anything is called.
    function _claim(Invoice calldata invoice, bytes calldata sig) private returns (bytes32 hash) {
        if (used[invoice.id]) revert AlreadyPaid(invoice.id);
        if (block.timestamp > invoice.deadline) revert Expired(invoice.deadline);
        uint256 count = invoice.payees.length;
        if (count == 0 || count > MAX_PAYEES) revert BadPayees();
        uint256 sum = 0;
        for (uint256 i = 0; i < count; i++) {
            Payee calldata payee = invoice.payees[i];
            if (payee.to == address(0) || payee.to == address(this) || payee.amount == 0) revert BadPayees();
            sum += payee.amount;
        }
        if (sum != invoice.amount) revert WrongAmount(invoice.amount, sum);
        hash = hashInvoice(invoice);
        // Answers the zero address on any malformed or high-s signature; the signer is never that.
        (address by,,) = ECDSA.tryRecoverCalldata(hash, sig);
        if (by != signer) revert BadSignature();
        used[invoice.id] = true;
        emit Paid(invoice.id, invoice.payer, invoice.token, invoice.amount, hash);
    }

    function _token(Invoice calldata invoice) private pure returns (IERC20) {
        if (invoice.token == address(0)) revert WrongToken(invoice.token);
        return IERC20(invoice.token);
    }

    function _pull(Invoice calldata invoice) private {
        IERC20 token = _token(invoice);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(invoice.payer, address(this), invoice.amount);
        _received(invoice, before);
    }

    /// Divides if exactly the amount has come, and sees to it that exactly the amount is gone or credited afterwards.
    function _received(Invoice calldata invoice, uint256 before) private {
        IERC20 token = IERC20(invoice.token);
        uint256 got = token.balanceOf(address(this)) - before;
        if (got != invoice.amount) revert WrongAmount(invoice.amount, got);
        uint256 kept = before + _divide(invoice);
        uint256 left = token.balanceOf(address(this));
        if (left != kept) revert WrongAmount(kept, left);
    }

    function _divide(Invoice calldata invoice) private returns (uint256 credited) {
        for (uint256 i = 0; i < invoice.payees.length; i++) {
            Payee calldata payee = invoice.payees[i];
            bool sent = _send(invoice.token, payee.to, payee.amount);
            if (!sent) {
                credits[invoice.token][payee.to] += payee.amount;
                credited += payee.amount;
            }
            emit Share(invoice.id, payee.to, payee.amount, !sent);
        }
        owed[invoice.token] += credited;
    }

    /// True if `to` was paid. The gas is bounded, so that a payee cannot make the whole payment fail, and must be there in full,
    /// so that a payer cannot starve a payee into a credit. Answers are not copied: their size is the callee's choice.
    function _send(address token, address to, uint256 amount) private returns (bool ok) {
        uint256 limit = token == address(0) ? NATIVE_GAS : TOKEN_GAS;
        // One 64th stays with the caller; the margin covers what comes before and the surcharges of the call itself.
        if (gasleft() < limit + limit / 63 + 50_000) revert NotEnoughGas();
        if (token == address(0)) {
            assembly ("memory-safe") {
                ok := call(limit, to, amount, 0, 0, 0, 0)
            }
        } else {
            bytes memory data = abi.encodeCall(IERC20.transfer, (to, amount));
            assembly ("memory-safe") {
                mstore(0, 0)
                ok := call(limit, token, 0, add(data, 32), mload(data), 0, 32)
                // No answer is how some tokens say yes; otherwise it must be true.
                ok := and(ok, or(iszero(returndatasize()), and(gt(returndatasize(), 31), eq(mload(0), 1))))
            }
        }
    }

    function _sendAll(address token, address to, uint256 amount) private {
        if (to == address(0) || to == address(this)) revert TransferFailed();
        if (token != address(0)) return IERC20(token).safeTransfer(to, amount);
        (bool ok,) = to.call{value: amount}("");
        if (!ok) revert TransferFailed();
    }

    function _balance(address token) private view returns (uint256) {
        return token == address(0) ? address(this).balance : IERC20(token).balanceOf(address(this));
    }

    /// head: the six arguments that both forms of receiveWithAuthorization begin with, all of fixed size.
    function _receiveWithAuthorization(bytes memory head, bytes calldata sig) private pure returns (bytes memory) {
        if (sig.length == 65) {
            // receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)
            return abi.encodePacked(bytes4(0xef55bec6), head, uint256(uint8(sig[64])), sig[:64]);
        }
        // receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes): the seventh word says where bytes begin
        bytes memory padding = new bytes((32 - sig.length % 32) % 32);
        return abi.encodePacked(bytes4(0x88b7ab63), head, uint256(7 * 32), sig.length, sig, padding);
    }

    /// Calls a token; its reason for refusing is handed on.
    function _call(address token, bytes memory data) private {
        (bool ok, bytes memory answer) = token.call(data);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}
