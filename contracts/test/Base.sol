// SPDX-License-Identifier: Apache-2.0
// What the tests share. There is no forge-std in the npm registry; these are the cheat codes that the tests use.
pragma solidity 0.8.37;

import {PPVSplitter} from "../src/PPVSplitter.sol";
import {DollarToken, PlainToken} from "./Tokens.sol";

interface Vm {
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function deal(address who, uint256 amount) external;
    function warp(uint256 time) external;
    function chainId(uint256 id) external;
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function expectRevert() external;
    function expectRevert(bytes4 reason) external;
    function expectRevert(bytes calldata reason) external;
    function expectEmit(bool topic1, bool topic2, bool topic3, bool data, address emitter) external;
    function assertEq(uint256 got, uint256 want, string calldata what) external pure;
    function assertEq(address got, address want, string calldata what) external pure;
    function assertEq(bytes32 got, bytes32 want, string calldata what) external pure;
    function assertEq(bytes calldata got, bytes calldata want, string calldata what) external pure;
    function assertTrue(bool good, string calldata what) external pure;
    function assertFalse(bool bad, string calldata what) external pure;
    function assume(bool good) external pure;
}

/// A payee with code: takes, refuses, burns all gas, or answers with more than anybody wants to copy; may call back.
contract Till {
    enum Mood {
        Takes,
        Refuses,
        Burns,
        Bombs,
        Calls
    }

    Mood public mood;
    address private target;
    bytes private data;
    bool public succeeded;
    bytes public answer;

    function set(Mood to) external {
        mood = to;
    }

    function arm(address target_, bytes calldata data_) external {
        (mood, target, data) = (Mood.Calls, target_, data_);
    }

    /// Lets the test speak in this contract's name.
    function run(address to, bytes calldata what) external returns (bool ok, bytes memory got) {
        (ok, got) = to.call(what);
    }

    receive() external payable {
        if (mood == Mood.Refuses) revert("no coins");
        if (mood == Mood.Burns) while (true) {}
        if (mood == Mood.Bombs) {
            assembly {
                revert(0, 1000000)
            }
        }
        if (mood == Mood.Calls) (succeeded, answer) = target.call(data);
    }
}

/// A contract wallet (EIP-1271) with one key, whose signatures carry something in front.
contract Wallet {
    address private immutable key;

    constructor(address key_) {
        key = key_;
    }

    function isValidSignature(bytes32 hash, bytes calldata sig) external view returns (bytes4) {
        bytes calldata bare = sig[sig.length - 65:];
        address by = ecrecover(hash, uint8(bare[64]), bytes32(bare[:32]), bytes32(bare[32:64]));
        return by == key ? this.isValidSignature.selector : bytes4(0);
    }
}

abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 internal constant N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant SIGNER = 0xA11CE;
    uint256 internal constant PAYER = 0xB0B;
    address internal constant NATIVE = address(0);
    address internal immutable signer = vm.addr(SIGNER);
    address internal immutable payer = vm.addr(PAYER);
    address internal immutable owner = vm.addr(0x0123);
    address internal immutable creator = vm.addr(0xC0);
    address internal immutable affiliate = vm.addr(0xAF);

    PPVSplitter internal splitter;
    DollarToken internal dollar;
    uint256 private ids;

    event Paid(bytes32 indexed id, address indexed payer, address indexed token, uint256 amount, bytes32 invoiceHash);
    event Share(bytes32 indexed id, address indexed to, uint256 amount, bool credited);
    event Withdrawn(address indexed token, address indexed who, address to, uint256 amount);
    event SignerChanged(address indexed from, address indexed to);
    event Rescued(address indexed token, address indexed to, uint256 amount);

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        splitter = new PPVSplitter(owner, signer);
        dollar = new DollarToken();
        vm.deal(payer, 1e30);
        dollar.mint(payer, 1e30);
    }

    /// An invoice of the payer with a new id, valid for ten minutes.
    function _invoice(address token, PPVSplitter.Payee[] memory payees) internal returns (PPVSplitter.Invoice memory o) {
        uint256 sum = 0;
        for (uint256 i = 0; i < payees.length; i++) sum += payees[i].amount;
        o = PPVSplitter.Invoice(keccak256(abi.encode("order", ids++)), token, sum, payer, payees, uint64(block.timestamp + 600));
    }

    function _two(address a, uint256 x, address b, uint256 y) internal pure returns (PPVSplitter.Payee[] memory list) {
        list = new PPVSplitter.Payee[](2);
        list[0] = PPVSplitter.Payee(a, x);
        list[1] = PPVSplitter.Payee(b, y);
    }

    /// 9,000 for the creator, 1,000 for the affiliate.
    function _plain(address token) internal returns (PPVSplitter.Invoice memory) {
        return _invoice(token, _two(creator, 9000, affiliate, 1000));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _signed(PPVSplitter.Invoice memory o) internal view returns (bytes memory) {
        return _sign(SIGNER, splitter.hashInvoice(o));
    }

    function _payNative(PPVSplitter.Invoice memory o) internal {
        bytes memory sig = _signed(o);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
    }

    function _approve(PPVSplitter.Invoice memory o) internal {
        vm.prank(payer);
        PlainToken(o.token).approve(address(splitter), o.amount);
    }

    function _payToken(PPVSplitter.Invoice memory o) internal {
        _approve(o);
        bytes memory sig = _signed(o);
        vm.prank(payer);
        splitter.payToken(o, sig);
    }

    /// The digest of an EIP-3009 authorization of o for the splitter, valid now.
    function _receiveDigest(PPVSplitter.Invoice memory o, bytes32 nonce) internal view returns (bytes32) {
        bytes32 body = keccak256(
            abi.encode(
                dollar.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), o.payer, address(splitter), o.amount, 0, type(uint256).max, nonce
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", dollar.DOMAIN_SEPARATOR(), body));
    }

    function _balance(address token, address who) internal view returns (uint256) {
        return token == NATIVE ? who.balance : PlainToken(token).balanceOf(who);
    }

    /// Nothing is here but what is owed.
    function _nothingStray(address token) internal view {
        vm.assertEq(_balance(token, address(splitter)), splitter.owed(token), "the balance is what is owed");
    }
}
